/**
 * The plugin: JupyterLab on one side, a page of the mux on the other.
 *
 * It also answers for lost connections, in place of JupyterLab's dialog: while the mux is known to be there, a line of
 * text says what happens, and nothing has to be clicked away.
 */
import { ConnectionLost, IConnectionLost, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { PageConfig } from '@jupyterlab/coreutils';
import { Page } from './page';

/** `/camp/<project>/…`, as the mux serves workspaces (a project of the older kind has a further directory). */
const BASE = /^\/camp\/([a-z0-9][a-z0-9-]*)\//;

const plugin: JupyterFrontEndPlugin<IConnectionLost> = {
  id: '@mux/notebook:plugin',
  description: 'Saves before a swap, says what is unsaved and what runs, shows notices of the event.',
  autoStart: true,
  provides: IConnectionLost,
  activate: (app: JupyterFrontEnd): IConnectionLost => {
    const base = new URL(PageConfig.getBaseUrl());
    const project = BASE.exec(base.pathname)?.[1];
    if (!project) {
      return ConnectionLost;
    }
    const page = new Page(app, `${base.origin}/camp/live/${project}`);
    return async (manager, error, translator) =>
      page.tells ? undefined : ConnectionLost(manager, error, translator);
  }
};

export default plugin;
