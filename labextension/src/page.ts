/**
 * What this page does about what the mux says: it saves, waits, comes back, and says what it knows.
 *
 * Rules: a tab with unsaved edits is never reloaded, and no page is. What is asked more than once is done once. The mux
 * waits for an answer to a request to save for a few seconds, so the answer goes out whatever came of the saves.
 */
import { JupyterFrontEnd } from '@jupyterlab/application';
import { Activity } from './activity';
import { Bar, IShown } from './bar';
import { ISaved, refresh, saveAll, unsaved } from './documents';
import { IRunner, Kernels } from './kernels';
import { Link } from './link';
import { INotice, IPageState, IWord } from './messages';

/** How often what is open is looked at. */
const LOOK_MS = 5000;
/** Without a look for so long, the machine has slept: browsers let pages that nobody sees look once a minute. */
const SLEPT_MS = 150000;
/** Shortest time between two words that nobody waits for. */
const TELL_MS = 2000;
/** How often the mux is told that somebody still works here. */
const ACTIVE_MS = 10000;
/** A connection that is away for less is not worth a word. */
const AWAY_MS = 4000;
/** How long a page takes to save, for the next one's turn; the mux waits for all of them for five seconds. */
const TURN_MS = 400;
const TURNS_MS_MAX = 3000;
const BACK_TRIES = 6;
const BACK_MS = 2000;

const NOTHING_SAVED: ISaved = { all: true, written: new Set() };
const NOT_ALL_SAVED: ISaved = { all: false, written: new Set() };

const pause = (ms = BACK_MS): Promise<void> => new Promise(resolve => window.setTimeout(resolve, ms));

const UPDATING =
  'Your workspace is being started anew and is back in a moment. Leave this page open: what you typed stays in it.';
const AWAY = 'There is no connection to the event now. What you type stays in this page; it reconnects by itself.';
const TERMINALS = 'The workspace was started anew, and its terminals have ended. Files that were saved in them are there.';
const LOGIN_ENDED =
  'Your login has ended, so nothing can be saved or run now. Log in again in another tab: what you typed stays in this page, which then reconnects by itself, also to kernels that JupyterLab takes for dead.';

export class Page {
  /**
   * @param app JupyterLab.
   * @param address of the mux's live channel for this project.
   */
  constructor(
    private readonly app: JupyterFrontEnd,
    address: string
  ) {
    this.activity = new Activity(app, () => this.tellSoon(TELL_MS));
    this.kernels = new Kernels(app);
    this.link = new Link(
      address,
      word => this.heard(word),
      () => this.linkChanged()
    );
    window.setInterval(() => this.look(), LOOK_MS);
  }

  /** Whether this page itself tells of a server that is away, so that JupyterLab need not. */
  get tells(): boolean {
    return this.link.everOpen;
  }

  private look(): void {
    const slept = Date.now() - this.lookedAt > SLEPT_MS;
    this.lookedAt = Date.now();
    if (slept && this.link.everOpen) {
      this.current = false;
      this.link.again();
    }
    this.activity.look();
    this.remember();
    if (this.current && !this.coming && !this.word?.updating && this.kernels.cutOff) {
      this.follow(() => this.reconnect());
    }
    this.tellSoon(0);
  }

  /** What runs is looked at only while it is known to run: what a swap has ended is missed by nobody afterwards. */
  private remember(): void {
    if (this.current && !this.coming && !this.word?.updating && !this.word?.save) {
      this.kernels.look();
    }
  }

  private linkChanged(): void {
    this.current = false;
    if (this.link.loginEnded) {
      this.away = true;
    } else if (this.link.isOpen) {
      this.said = '';
      this.look();
    } else if (this.link.everOpen) {
      // From the first loss on: tries that fail one after the other put nothing off.
      this.awayTimer ??= window.setTimeout(() => {
        this.away = true;
        this.show();
      }, AWAY_MS);
    }
    this.show();
  }

  /** The first word over a connection: the mux is there. */
  private here(): void {
    window.clearTimeout(this.awayTimer);
    this.awayTimer = undefined;
    this.away = false;
    this.kernels.seekAnew();
    this.tellSoon(0);
  }

  private heard(word: IWord): void {
    this.word = word;
    if (!this.current) {
      this.current = true;
      this.here();
    }
    if (word.save !== 0 && word.save !== this.asked) {
      this.asked = word.save;
      if (!this.coming) {
        this.kernels.look();
      }
      void this.save(word);
    }
    if (word.updating) {
      this.updating = true;
      this.run ||= word.run;
    } else if (word.run !== '') {
      // A word without a run, as while a workspace moves to another machine, does not make the one before forgotten.
      if (this.run !== '' && (this.updating || this.run !== word.run)) {
        this.follow(() => this.comeBack());
      } else if (this.files !== '' && this.files !== word.files) {
        this.follow(() => this.showFiles(NOTHING_SAVED));
      }
      this.updating = false;
      this.run = word.run;
      this.files = word.files;
    }
    this.show();
  }

  /** Bring the page up to date; one after the other, since a rollback may follow a swap at once. */
  private follow(work: () => Promise<void>): void {
    this.coming += 1;
    this.back = this.back
      .then(work)
      .catch(error => console.warn('mux: not all of the page came back', error))
      .then(() => {
        this.coming -= 1;
        this.look();
      });
  }

  private async save({ save, turn }: IWord): Promise<void> {
    this.saving = pause(Math.min(turn * TURN_MS, TURNS_MS_MAX)).then(() => saveAll(this.app));
    await this.saving;
    this.saved = save;
    this.tell();
  }

  /** Have JupyterLab see what runs, as soon as the workspace answers. */
  private async answers(): Promise<void> {
    for (let left = BACK_TRIES; left > 0; left--) {
      try {
        return await this.kernels.refresh();
      } catch (error) {
        console.warn('mux: the workspace does not answer yet', error);
        await pause();
      }
    }
  }

  /** The same workspace is in reach again: take up what JupyterLab has given up. */
  private async reconnect(): Promise<void> {
    await this.answers();
    await this.kernels.reconnect();
  }

  /** The workspace runs anew: see what is gone, and show the files as they are. */
  private async comeBack(): Promise<void> {
    await this.answers();
    // What the workspace before left unanswered was cut off with it; but a dialog may wait for somebody, and a network.
    const saving = this.saving;
    this.saving = Promise.resolve(NOTHING_SAVED);
    const saved = await Promise.race([saving, pause().then(() => NOT_ALL_SAVED)]);
    this.own.clear();
    await this.showFiles(saved);
    if (!saved.all) {
      void saving.then(() => saveAll(this.app));
    }
    if (this.kernels.hadTerminals) {
      const id = `terminals/${this.run}`;
      this.own.set(id, { id, text: TERMINALS, closable: true });
    }
    for (const runner of this.kernels.lost()) {
      const id = `kernel/${this.run}/${runner.name}`;
      this.own.set(id, {
        id,
        text: `${runner.name}: the workspace was started anew, and its kernel has ended. What it held in memory is gone; your files are as you left them.`,
        button: { label: 'Start a kernel', press: () => this.start(id, runner) },
        closable: true
      });
    }
    this.show();
  }

  /** Show files as they are now, and say where that is not possible without a loss. */
  private async showFiles({ written }: ISaved): Promise<void> {
    for (const path of await refresh(this.app, written)) {
      const key = `both/${path}`;
      const id = `${key}/${this.run}/${this.files}`;
      const text = `${path} has edits that are not saved, and its file has changed in the workspace. Save it and choose “Overwrite” to keep yours, or “Revert” for what is in the file.`;
      this.own.set(key, { id, text, closable: true });
    }
    this.show();
  }

  private start(id: string, runner: IRunner): boolean {
    this.own.delete(id);
    this.show();
    this.kernels.start(runner).catch(error => {
      console.warn('mux: no kernel was started', error);
      const text = `${runner.name}: no kernel was started. Choose one at the upper right of the notebook.`;
      this.own.set(id, { id: `${id}/failed`, text, closable: true });
      this.show();
    });
    return true;
  }

  private show(): void {
    const shown: IShown[] = (this.word?.notices ?? []).map(each => this.offered(each));
    if (this.word?.updating) {
      shown.push({ id: 'updating', text: UPDATING, closable: false });
    } else {
      shown.push(...this.own.values());
    }
    if (this.away) {
      shown.push({ id: 'away', text: this.link.loginEnded ? LOGIN_ENDED : AWAY, closable: false });
    }
    this.bar.show(shown);
  }

  private offered(notice: INotice): IShown {
    const { id, text, action, project, number } = notice;
    const press = (): boolean => this.link.say({ accept: { project, number } });
    return { id, text, button: action ? { label: action, press } : undefined, closable: true };
  }

  private tellSoon(least: number): void {
    const pause = Math.max(least, this.toldAt + TELL_MS - Date.now(), 0);
    this.tellTimer ??= window.setTimeout(() => this.tell(), pause);
  }

  private tell(): void {
    window.clearTimeout(this.tellTimer);
    this.tellTimer = undefined;
    this.remember();
    const due = Date.now() - this.activeAt >= ACTIVE_MS;
    const state: IPageState = {
      page: this.id,
      unsaved: unsaved(this.app),
      busy: this.activity.busy,
      active: due && this.activity.seen,
      saved: this.saved
    };
    const text = JSON.stringify(state);
    if (text === this.said && !state.active) {
      return;
    }
    if (this.link.say(state)) {
      this.toldAt = Date.now();
      this.said = JSON.stringify({ ...state, active: false });
      if (state.active) {
        this.activity.told();
        this.activeAt = this.toldAt;
      }
    }
  }

  private readonly id = Array.from(crypto.getRandomValues(new Uint8Array(8)), byte =>
    byte.toString(16).padStart(2, '0')
  ).join('');
  private readonly bar = new Bar();
  private readonly own = new Map<string, IShown>();
  private readonly activity: Activity;
  private readonly kernels: Kernels;
  private readonly link: Link;
  private word: IWord | undefined;
  /** It was said over the connection that there is: what came of the workspace before that may be unknown yet. */
  private current = false;
  /** Of the workspace that ran last; empty before any did. */
  private run = '';
  /** Since then it was being exchanged. */
  private updating = false;
  /** Of the files that were shown last; empty before any were. */
  private files = '';
  /** Ends when the page is as the workspace is. */
  private back: Promise<void> = Promise.resolve();
  /** How often that is still to come. */
  private coming = 0;
  /** Of what was last asked to be saved before a swap; it may go on when the workspace is back. */
  private saving: Promise<ISaved> = Promise.resolve(NOTHING_SAVED);
  private lookedAt = Date.now();
  private away = false;
  private awayTimer: number | undefined;
  private asked = 0;
  private saved = 0;
  private said = '';
  private toldAt = 0;
  private activeAt = 0;
  private tellTimer: number | undefined;
}
