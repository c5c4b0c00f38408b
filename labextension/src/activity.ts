/**
 * Whether somebody works here: what is run, printed or typed. An open tab is no activity, nor is looking at it.
 */
import { JupyterFrontEnd } from '@jupyterlab/application';
import { ISessionContext } from '@jupyterlab/apputils';
import { Context, contexts } from './documents';

/** Messages of a kernel that somebody's code brings about; heartbeats, comms of widgets and status polls are none. */
const WORK = new Set([
  'display_data',
  'error',
  'execute_input',
  'execute_result',
  'input_request',
  'stream',
  'update_display_data'
]);

export class Activity {
  /**
   * @param app whose documents are watched.
   * @param changed is called whenever anything of this may have changed.
   */
  constructor(
    private readonly app: JupyterFrontEnd,
    private readonly changed: () => void
  ) {}

  /** A kernel of an open document computes. */
  get busy(): boolean {
    return contexts(this.app).some(each => each.sessionContext?.session?.kernel?.status === 'busy');
  }

  /** Whether something has happened that nobody was told of, or goes on. */
  get seen(): boolean {
    return this.happened || this.busy;
  }

  /** What has happened was told. */
  told(): void {
    this.happened = false;
  }

  /** Watch documents that were opened since the last look. */
  look(): void {
    for (const context of contexts(this.app)) {
      if (!this.watched.has(context)) {
        this.watched.add(context);
        context.model.contentChanged.connect(this.onWork, this);
        context.model.stateChanged.connect(this.onState, this);
        context.sessionContext?.iopubMessage.connect(this.onMessage, this);
        context.sessionContext?.statusChanged.connect(this.onState, this);
      }
    }
  }

  private onMessage(_: ISessionContext, message: { header: { msg_type: string } }): void {
    if (WORK.has(message.header.msg_type)) {
      this.onWork();
    }
  }

  private onWork(): void {
    this.happened = true;
    this.changed();
  }

  private onState(): void {
    this.changed();
  }

  private happened = false;
  private readonly watched = new WeakSet<Context>();
}
