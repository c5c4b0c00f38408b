/**
 * Kernels and terminals that a swap has ended: what had one, and how it gets another.
 *
 * What they held in memory cannot be kept. So the attendee is told, and decides: nothing is started or run for them.
 */
import { JupyterFrontEnd } from '@jupyterlab/application';
import { ISessionContext } from '@jupyterlab/apputils';
import { Kernel } from '@jupyterlab/services';
import { Context, contexts, widgets } from './documents';

/** Something in this page that had a kernel: a document, or a console. */
export interface IRunner {
  name: string;
  session: ISessionContext;
}

/** As much of a widget as is looked at. */
interface IWidget {
  context?: Context;
  sessionContext?: ISessionContext;
  content?: { hasClass?: (name: string) => boolean };
  title?: { label: string };
}

/** A new kernel waits for no answer. JupyterLab goes on believing that the one before does, and runs no cell. */
function forgetInput(_: ISessionContext, { newValue }: { newValue: Kernel.IKernelConnection | null }): void {
  if (newValue) {
    newValue.hasPendingInput = false;
  }
}

export class Kernels {
  constructor(private readonly app: JupyterFrontEnd) {}

  /** Remember what has a kernel, and whether there are terminals. Only while the workspace is there. */
  look(): void {
    for (const { session } of this.runners()) {
      const kernel = session.session?.kernel;
      if (kernel && !kernel.isDisposed && kernel.status !== 'dead') {
        if (!this.names.has(session)) {
          session.kernelChanged.connect(forgetInput);
        }
        this.names.set(session, kernel.name);
      }
    }
    this.terminals = (widgets(this.app) as IWidget[]).some(each => each.content?.hasClass?.('jp-Terminal'));
  }

  /** Whether there were terminals at the last look: JupyterLab closes their tabs without a word. */
  get hadTerminals(): boolean {
    return this.terminals;
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

  /** What had a kernel and has none any more. */
  lost(): IRunner[] {
    return this.runners().filter(({ session }) => {
      const kernel = session.session?.kernel;
      return this.names.has(session) && (!kernel || kernel.isDisposed || kernel.status === 'dead');
    });
  }

  /** Start a kernel of the same kind as before. */
  async start({ session }: IRunner): Promise<void> {
    await session.changeKernel({ name: this.names.get(session) });
  }

  private runners(): IRunner[] {
    const found = contexts(this.app)
      .filter(context => context.sessionContext)
      .map(context => ({ name: context.path, session: context.sessionContext }));
    for (const { context, sessionContext, title } of widgets(this.app) as IWidget[]) {
      if (!context && sessionContext && !sessionContext.isDisposed) {
        found.push({ name: title?.label ?? '', session: sessionContext });
      }
    }
    return found;
  }

  private terminals = false;
  private readonly names = new WeakMap<ISessionContext, string>();
}
