/**
 * Kernels that a swap has ended: which documents had one, and how each gets another.
 *
 * What a kernel held in memory cannot be kept. So the attendee is told, and decides: nothing is started or run for them.
 */
import { JupyterFrontEnd } from '@jupyterlab/application';
import { Context, contexts } from './documents';

export class Kernels {
  constructor(private readonly app: JupyterFrontEnd) {}

  /** Remember which documents have a kernel. */
  look(): void {
    for (const context of contexts(this.app)) {
      const kernel = context.sessionContext?.session?.kernel;
      if (kernel && !kernel.isDisposed && kernel.status !== 'dead') {
        this.names.set(context, kernel.name);
      }
    }
  }

  /** Have JupyterLab see which kernels and terminals there still are. Throws while the server does not answer. */
  async refresh(): Promise<void> {
    const { sessions, kernels, terminals } = this.app.serviceManager;
    await sessions.refreshRunning();
    await kernels.refreshRunning();
    if (terminals.isAvailable()) {
      await terminals.refreshRunning();
    }
  }

  /** Documents that had a kernel and have none any more. */
  lost(): Context[] {
    return contexts(this.app).filter(context => {
      const kernel = context.sessionContext?.session?.kernel;
      return this.names.has(context) && (!kernel || kernel.isDisposed || kernel.status === 'dead');
    });
  }

  /** Start a kernel of the same kind as before. */
  async start(context: Context): Promise<void> {
    await context.sessionContext.changeKernel({ name: this.names.get(context) });
  }

  private readonly names = new WeakMap<Context, string>();
}
