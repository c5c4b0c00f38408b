/**
 * What is said over the one WebSocket, and how it is read.
 *
 * Both sides say all that is so, never what has changed: a message that is lost or comes twice needs no care. Whatever
 * comes from the mux may quote an organizer or a ship: it is bounded here and shown as text, never as markup.
 */

/** Something that the attendee should know. */
export interface INotice {
  /** Another id is another notice; one that was closed is not shown again. */
  id: string;
  kind: string;
  text: string;
  /** Project and number to say back when the button is pressed. */
  project: string;
  number: number;
  /** Words of the button; empty where there is nothing to press. */
  action: string;
}

/** What the mux says of this page's workspace. */
export interface IWord {
  /** Number of the request to save everything; 0 when nothing is asked. */
  save: number;
  /** How many pages save before this one. */
  turn: number;
  /** The workspace is being exchanged: requests wait, sockets are cut. */
  updating: boolean;
  /** Another one with each start of the workspace. */
  run: string;
  /** Another one whenever others have changed its files while it ran; empty while that is not known. */
  files: string;
  notices: INotice[];
}

/** What this page says. */
export interface IPageState {
  /** Tells this page from the attendee's other ones; chosen here. */
  page: string;
  /** Documents with edits that are not saved. */
  unsaved: number;
  /** A kernel computes. */
  busy: boolean;
  /** Since the last word something was run, printed or typed. */
  active: boolean;
  /** Number of the last request to save that was carried out as far as possible. */
  saved: number;
}

const NOTICES_MAX = 16;
const TEXT_MAX = 2000;

const text = (value: unknown, max = TEXT_MAX): string =>
  typeof value === 'string' ? value.slice(0, max) : '';

const count = (value: unknown): number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : 0;

const notice = (value: unknown): INotice => {
  const raw = (value ?? {}) as Record<string, unknown>;
  return {
    id: text(raw.id, 200),
    kind: text(raw.kind, 40),
    text: text(raw.text),
    project: text(raw.project, 40),
    number: count(raw.number),
    action: text(raw.action, 80)
  };
};

/** Read a message of the mux. Throws when it is none. */
export function read(data: unknown): IWord {
  const raw = JSON.parse(String(data)) as Record<string, unknown>;
  const notices = Array.isArray(raw.notices) ? raw.notices.slice(0, NOTICES_MAX) : [];
  return {
    save: count(raw.save),
    turn: count(raw.turn),
    updating: raw.updating === true,
    run: text(raw.run, 200),
    files: text(raw.files, 200),
    notices: notices.map(notice).filter(each => each.id !== '' && each.text !== '')
  };
}
