/**
 * The documents that are open in this page: which have unsaved edits, and how all of them are saved.
 *
 * Rules: a document with unsaved edits is never reloaded, whenever they were typed. One without is brought up to date
 * after a swap if its file has changed, since the tab would go on showing what is not there any more. Nothing here waits
 * for a dialog: nobody may be there to answer. JupyterLab opens one, with an OK, where the server refuses to save.
 */
import { JupyterFrontEnd } from '@jupyterlab/application';
import { DocumentRegistry } from '@jupyterlab/docregistry';
import { Contents } from '@jupyterlab/services';

export type Context = DocumentRegistry.Context;

/** What tells a file from another one with the same name; JupyterLab before 4.1 asks for no hash, nor may this. */
type Known = { last_modified: string; hash?: string | null; writable?: boolean };

const AREAS = ['main', 'left', 'right'];
/** JupyterLab's shell alone has this one for sure, and alone has modes; others complain on the console. */
const AREAS_OF_LAB = [...AREAS, 'down'];
/** A file that is newer than what the page knows by no more is still the same: JupyterLab's own margin. */
const NEWER_MS = 500;
/** How long another tab is waited for: it may be asleep, and the mux waits for five seconds. */
const TURN_MS = 3000;

/** What JupyterLab before 4 gives: an iterator that can be asked for the next one, and that is all. */
type OldIterator = { next(): object | undefined };

/** Everything that is open in this page. */
export const widgets = (app: JupyterFrontEnd): object[] =>
  ('mode' in app.shell ? AREAS_OF_LAB : AREAS).flatMap(area => widgetsIn(app, area));

/** Every open document once, however many views it has. */
export function contexts(app: JupyterFrontEnd): Context[] {
  const found = new Set<Context>();
  for (const widget of widgets(app)) {
    const context = (widget as { context?: Context }).context;
    if (context?.model && !context.isDisposed) {
      found.add(context);
    }
  }
  return [...found];
}

/** What is open in an area; nothing where the shell of this version has no such area. */
function widgetsIn(app: JupyterFrontEnd, area: string): object[] {
  try {
    const found: Iterable<object> | OldIterator = app.shell.widgets(area);
    if (Symbol.iterator in found) {
      return [...found];
    }
    const all: object[] = [];
    for (let each = found.next(); each; each = found.next()) {
      all.push(each);
    }
    return all;
  } catch {
    return [];
  }
}

const isDirty = (context: Context): boolean => context.model.dirty && !context.model.readOnly;

/** How many documents have unsaved edits. */
export const unsaved = (app: JupyterFrontEnd): number => contexts(app).filter(isDirty).length;

/** What came of saving. */
export interface ISaved {
  /** Everything is saved but what is not this page's to write. */
  all: boolean;
  /** What this page has written. */
  written: ReadonlySet<Context>;
}

/**
 * Save whatever has unsaved edits; returns when all of that has ended, one way or the other.
 *
 * A document whose file somebody else has written, such as another tab, stays as it is: JupyterLab would open a dialog
 * that asks which of both is wanted. So does one that may not be written, as JupyterLab's own saving has it.
 */
export async function saveAll(app: JupyterFrontEnd): Promise<ISaved> {
  const written = new Set<Context>();
  const ended = await Promise.allSettled(
    contexts(app)
      .filter(isDirty)
      .map(context =>
        inTurn(context.path, async () => {
          if (await mayWrite(app, context)) {
            await save(context);
            written.add(context);
          }
        })
      )
  );
  return { all: ended.every(each => each.status === 'fulfilled'), written };
}

/** One tab of a browser after the other: all are asked to save in the same moment. Without TLS there are no locks. */
async function inTurn(path: string, work: () => Promise<void>): Promise<void> {
  if (!navigator.locks) {
    return work();
  }
  const waited = new AbortController();
  const timer = window.setTimeout(() => waited.abort(), TURN_MS);
  await navigator.locks.request(`mux save ${path}`, { signal: waited.signal }, () => {
    window.clearTimeout(timer);
    return work();
  });
}

/** Save, and let what is typed meanwhile be unsaved: JupyterLab calls a document clean as soon as a save ends. */
async function save(context: Context): Promise<void> {
  let typed = false;
  const note = (): void => {
    typed = true;
  };
  context.model.contentChanged.connect(note);
  try {
    await context.save();
  } finally {
    if (!context.isDisposed) {
      context.model.contentChanged.disconnect(note);
      context.model.dirty ||= typed;
    }
  }
}

/** Whether the file is the one that this page has read or written, and not read-only. One that is gone is made anew. */
async function mayWrite(app: JupyterFrontEnd, context: Context): Promise<boolean> {
  const mine: Known | null = context.contentsModel;
  let found: Known;
  try {
    const wanted = { content: false, ...(mine?.hash ? { hash: true } : {}) };
    found = await app.serviceManager.contents.get(context.path, wanted);
  } catch {
    return true;
  }
  if (found.writable === false) {
    return false;
  }
  if (mine?.hash && found.hash) {
    return mine.hash === found.hash;
  }
  return mine === null || !(Date.parse(found.last_modified) - Date.parse(mine.last_modified) > NEWER_MS);
}

/**
 * Show what is on disk now in every document without unsaved edits whose file has changed.
 *
 * @param written is what this page has saved just before. If that is not in the file, another browser has written over
 * it in the same moment, and this page holds the only copy.
 * @returns names of documents whose edits are not in the file, which has changed as well.
 */
export async function refresh(app: JupyterFrontEnd, written: ReadonlySet<Context>): Promise<string[]> {
  const both: string[] = [];
  for (const context of contexts(app)) {
    try {
      const before = context.contentsModel?.last_modified;
      const now = await app.serviceManager.contents.get(context.path, { content: false });
      if (before === undefined || now.last_modified === before) {
        continue;
      }
      context.model.dirty ||= written.has(context);
      if (context.model.dirty || !(await takeOver(app, context))) {
        both.push(context.path);
      }
    } catch (error) {
      // The file may be gone with the new image; the tab still shows it, and can save it anew.
      console.warn(`mux: ${context.path} could not be looked at`, error);
    }
  }
  return both;
}

/**
 * Show what is on disk; false if somebody has typed something meanwhile, which then stays.
 *
 * `revert()` fetches first, and then writes over whatever the document has become. So the file is fetched before, and
 * `revert()` is given that: between a look at the document and its being written over, no key can be pressed.
 */
async function takeOver(app: JupyterFrontEnd, context: Context): Promise<boolean> {
  const contents = app.serviceManager.contents;
  const { path } = context;
  const { type, format } = context.contentsModel ?? {};
  const wanted: Contents.IFetchOptions = { type, content: true, ...(format ? { format } : {}) };
  const fetched = format ? await contents.get(path, wanted) : undefined;
  if (context.model.dirty) {
    return false;
  }
  const get = contents.get;
  if (fetched) {
    contents.get = (asked, options) =>
      asked === path && options?.content !== false ? Promise.resolve(fetched) : get.call(contents, asked, options);
  }
  try {
    await context.revert();
  } finally {
    contents.get = get;
  }
  return true;
}
