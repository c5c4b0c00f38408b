/**
 * The documents that are open in this page: which have unsaved edits, and how all of them are saved.
 *
 * Rules: a document with unsaved edits is never reloaded, whenever they were typed. One without is brought up to date
 * after a swap if its file has changed, since the tab would go on showing what is not there any more.
 */
import { JupyterFrontEnd } from '@jupyterlab/application';
import { DocumentRegistry } from '@jupyterlab/docregistry';
import { Contents } from '@jupyterlab/services';

export type Context = DocumentRegistry.Context;

const AREAS = ['main', 'left', 'right', 'down'];

/** Every open document once, however many views it has. */
export function contexts(app: JupyterFrontEnd): Context[] {
  const found = new Set<Context>();
  for (const widget of AREAS.flatMap(area => widgets(app, area))) {
    const context = (widget as { context?: Context }).context;
    if (context?.model && !context.isDisposed) {
      found.add(context);
    }
  }
  return [...found];
}

/** What is open in an area; nothing where the shell of this version has no such area. */
function widgets(app: JupyterFrontEnd, area: string): object[] {
  try {
    return [...app.shell.widgets(area)];
  } catch {
    return [];
  }
}

const isDirty = (context: Context): boolean => context.model.dirty && !context.model.readOnly;

/** How many documents have unsaved edits. */
export const unsaved = (app: JupyterFrontEnd): number => contexts(app).filter(isDirty).length;

/** Save whatever has unsaved edits; returns when all of that has ended, one way or the other. */
export async function saveAll(app: JupyterFrontEnd): Promise<void> {
  const saves = contexts(app)
    .filter(isDirty)
    .map(context => context.save());
  await Promise.allSettled(saves);
}

/**
 * Show what is on disk now in every document without unsaved edits whose file has changed.
 *
 * @returns names of documents with unsaved edits whose file has changed as well.
 */
export async function refresh(app: JupyterFrontEnd): Promise<string[]> {
  const both: string[] = [];
  for (const context of contexts(app)) {
    try {
      const before = context.contentsModel?.last_modified;
      const now = await app.serviceManager.contents.get(context.path, { content: false });
      if (before === undefined || now.last_modified === before) {
        continue;
      }
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
