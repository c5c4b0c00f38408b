/**
 * The WebSocket to the mux: opened, kept, opened again.
 *
 * Owns the connection and its pace; knows nothing of documents and kernels. A server that has no mux in front of it
 * (an author's own JupyterLab) refuses every try: after a few the link rests for long, and nobody is told.
 */
import { IWord, read } from './messages';

const RETRY_FIRST_MS = 500;
/** A room of hundreds comes back within this after a restart, spread by jitter; the mux waits a little longer. */
const RETRY_MAX_MS = 4000;
/** Pause once the login has ended: the attendee may log in again in another tab. */
const LOGIN_MS = 30000;
/** Pause between tries while there has never been a connection. */
const NEVER_MS = 300000;
const NEVER_AFTER = 6;
/** The mux speaks first, and at once. A connection on which nothing has been said for so long leads nowhere. */
const FIRST_WORD_MS = 20000;
/** Close code of the mux: the login has ended. Whatever is open stays open; the attendee logs in when they need to. */
const SESSION_ENDED = 4401;

export class Link {
  /**
   * @param address of the live channel, a path of this origin.
   * @param heard is given every word of the mux.
   * @param changed is called when the connection comes or goes.
   */
  constructor(
    private readonly address: string,
    private readonly heard: (word: IWord) => void,
    private readonly changed: () => void
  ) {
    window.addEventListener('online', () => this.socket ?? this.open());
    // Whoever comes back from another tab, as after a login there, waits for nothing.
    document.addEventListener('visibilitychange', () => document.hidden || (this.socket ?? this.open()));
    this.open();
  }

  /** Whether there is a connection now. */
  get isOpen(): boolean {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  /** Whether a mux has ever answered. */
  get everOpen(): boolean {
    return this.known;
  }

  /** Whether the mux said last that the login has ended: it is there, and hears nothing until somebody logs in. */
  get loginEnded(): boolean {
    return this.ended;
  }

  /** Say something; false when there is nobody to hear it: who has not spoken yet may be about to close. */
  say(message: object): boolean {
    if (!this.isOpen || !this.spoken || this.ended) {
      return false;
    }
    this.socket!.send(JSON.stringify(message));
    return true;
  }

  /** Connect anew, however open the connection looks: of one that died in its sleep, nobody may have told this page. */
  again(): void {
    this.forget();
    this.open();
  }

  private open(): void {
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.silent(), FIRST_WORD_MS);
    this.spoken = false;
    const socket = new WebSocket(this.address.replace(/^http/, 'ws'));
    this.socket = socket;
    socket.onopen = () => this.changed();
    socket.onmessage = event => {
      window.clearTimeout(this.timer);
      this.known = this.spoken = true;
      this.failures = 0;
      if (this.ended) {
        // Without a login nothing is said but the end.
        this.ended = false;
        this.changed();
      }
      try {
        this.heard(read(event.data));
      } catch (error) {
        console.warn('mux: a message could not be read', error);
      }
    };
    socket.onclose = event => this.lost(event.code);
  }

  /** Nothing was said. What looks like a connection may be one that a network on the way only pretends to. */
  private silent(): void {
    this.forget();
    this.lost(0);
  }

  private lost(code: number): void {
    window.clearTimeout(this.timer);
    this.socket = null;
    this.failures += 1;
    this.ended = code === SESSION_ENDED;
    this.known ||= this.ended;
    this.changed();
    this.timer = window.setTimeout(() => this.open(), this.pause(code));
  }

  /** Whatever comes over this connection is heard no more. */
  private forget(): void {
    if (this.socket) {
      this.socket.onopen = this.socket.onmessage = this.socket.onclose = null;
      this.socket.close();
    }
  }

  private pause(code: number): number {
    if (code === SESSION_ENDED) {
      return LOGIN_MS;
    }
    if (!this.known && this.failures >= NEVER_AFTER) {
      return NEVER_MS;
    }
    const bound = Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** Math.min(this.failures - 1, 10));
    return bound / 2 + (Math.random() * bound) / 2;
  }

  private socket: WebSocket | null = null;
  private timer = 0;
  private failures = 0;
  private known = false;
  private spoken = false;
  private ended = false;
}
