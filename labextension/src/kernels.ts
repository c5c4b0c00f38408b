/**
 * Kernels and terminals that a swap has ended: what had one, and how it gets another.
 *
 * What they held in memory cannot be kept. So the attendee is told, and decides: nothing is started or run for them.
 */
import { JupyterFrontEnd } from '@jupyterlab/application';
import { ISessionContext } from '@jupyterlab/apputils';
import { Kernel, Session, Terminal } from '@jupyterlab/services';
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
  content?: { hasClass?: (name: string) => boolean; session?: Terminal.ITerminalConnection };
  title?: { label: string };
}

/** A new kernel waits for no answer. JupyterLab goes on believing that the one before does, and runs no cell. */
function forgetInput(_: ISessionContext, { newValue }: { newValue: Kernel.IKernelConnection | null }): void {
  if (newValue) {
    newValue.hasPendingInput = false;
  }
}

/** How a session follows what the server says of it; no part of what JupyterLab promises, but there since version 2. */
interface IUpdated {
  update(this: unknown, model: Session.IModel): void;
}

const isDead = (kernel: Kernel.IKernelConnection): boolean => kernel.isDisposed || kernel.status === 'dead';

export class Kernels {
  constructor(private readonly app: JupyterFrontEnd) {}

  /** Remember what has a kernel, and whether there are terminals. Only while the workspace is there. */
  look(): void {
    for (const { session } of this.runners()) {
      const kernel = session.session?.kernel;
      if (kernel && !isDead(kernel)) {
        if (!this.names.has(session)) {
          session.kernelChanged.connect(forgetInput);
        }
        this.names.set(session, kernel.name);
      }
    }
    this.terminals = this.openTerminals().length > 0;
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

  /** Whether JupyterLab has given something up that nobody has sought since the mux is there. */
  get cutOff(): boolean {
    return this.cutOffKernels().length + this.cutOffTerminals().length > 0;
  }

  /** The mux is there again: what was sought in vain may be found now. */
  seekAnew(): void {
    this.sought.clear();
  }

  /**
   * Connect anew to what still runs.
   *
   * JupyterLab takes a kernel for dead as soon as it is told that the login has ended, and gives up terminals after a
   * minute without an answer. Both go on running. Each is sought once, see `seekAnew()`.
   */
  async reconnect(): Promise<void> {
    for (const terminal of this.cutOffTerminals()) {
      this.sought.add(terminal.name);
      terminal.reconnect().catch(error => console.warn('mux: a terminal is out of reach', error));
    }
    const cutOff = this.cutOffKernels();
    cutOff.forEach(each => this.sought.add(each.kernel!.id));
    for (const session of cutOff) {
      const kernel = session.kernel!;
      const found = await this.app.serviceManager.sessions.findById(session.id);
      if (found?.kernel?.id !== kernel.id || found.kernel.execution_state === 'dead') {
        continue;
      }
      if (isDead(kernel)) {
        const { update } = session as unknown as IUpdated;
        update.call(session, { ...found, kernel: null });
        update.call(session, found);
      } else {
        kernel.reconnect().catch(error => console.warn('mux: a kernel is out of reach', error));
      }
    }
  }

  /** What had a kernel and has none any more. */
  lost(): IRunner[] {
    return this.runners().filter(({ session }) => {
      const kernel = session.session?.kernel;
      return this.names.has(session) && (!kernel || isDead(kernel));
    });
  }

  /** Start a kernel of the same kind as before. */
  async start({ session }: IRunner): Promise<void> {
    await session.changeKernel({ name: this.names.get(session) });
  }

  private cutOffKernels(): Session.ISessionConnection[] {
    return this.runners()
      .flatMap(({ session }) => session.session ?? [])
      .filter(({ kernel }) => {
        const given = kernel && (isDead(kernel) || kernel.connectionStatus === 'disconnected');
        return given && !this.sought.has(kernel.id);
      });
  }

  private cutOffTerminals(): Terminal.ITerminalConnection[] {
    return this.openTerminals().filter(
      each => !each.isDisposed && each.connectionStatus === 'disconnected' && !this.sought.has(each.name)
    );
  }

  private openTerminals(): Terminal.ITerminalConnection[] {
    return (widgets(this.app) as IWidget[])
      .filter(each => each.content?.hasClass?.('jp-Terminal'))
      .flatMap(each => each.content?.session ?? []);
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
  /** Ids and names of what was sought since the mux is there. */
  private readonly sought = new Set<string>();
  private readonly names = new WeakMap<ISessionContext, string>();
}
