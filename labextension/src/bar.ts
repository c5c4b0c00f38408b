/**
 * The notices at the lower edge of the page: text and buttons, made with textContent alone.
 *
 * It stands beside JupyterLab's own shell, not in it: shells differ between versions, this must not.
 */

export interface IButton {
  label: string;
  /** Returns false where it came to nothing, and may be pressed again. */
  press: () => boolean;
}

export interface IShown {
  id: string;
  text: string;
  button?: IButton;
  /** Whether the attendee may put it away. */
  closable: boolean;
}

const STYLE = `
.mux-notices { position: fixed; right: 16px; bottom: 40px; z-index: 9000; display: flex; flex-direction: column;
  gap: 8px; max-width: min(460px, calc(100vw - 32px)); max-height: calc(100vh - 80px); overflow-y: auto; font-family: var(--jp-ui-font-family); }
.mux-notice { display: flex; flex-shrink: 0; gap: 10px; align-items: center; padding: 10px 12px; border-radius: 4px;
  background: var(--jp-layout-color1, #fff); color: var(--jp-ui-font-color1, #111);
  border: 1px solid var(--jp-border-color1, #bbb); border-left: 4px solid var(--jp-brand-color1, #1976d2);
  box-shadow: 0 2px 8px rgba(0, 0, 0, .25); font-size: 13px; line-height: 1.4; }
.mux-notice p { margin: 0; flex: 1; white-space: pre-line; overflow-wrap: anywhere; max-height: 40vh; overflow: auto;
  unicode-bidi: plaintext; }
.mux-notice button { font: inherit; cursor: pointer; border-radius: 3px; padding: 4px 10px; white-space: nowrap;
  border: 1px solid transparent; background: var(--jp-accept-color-normal, #1976d2); color: #fff; max-width: 12em;
  overflow: hidden; text-overflow: ellipsis; }
.mux-notice button.mux-close { background: transparent; color: inherit; padding: 4px 6px; }
`;

export class Bar {
  constructor() {
    const style = document.createElement('style');
    style.textContent = STYLE;
    this.node.className = 'mux-notices';
    this.node.setAttribute('role', 'status');
    this.node.setAttribute('aria-live', 'polite');
    document.head.append(style);
    document.body.append(this.node);
  }

  /** Show exactly these, but for what was closed. What stays is left alone, so that a press is never lost. */
  show(notices: IShown[]): void {
    const wanted = notices.filter(each => !this.closed.has(each.id));
    const keys = new Set(wanted.map(key));
    for (const [shown, node] of this.nodes) {
      if (!keys.has(shown)) {
        node.remove();
        this.nodes.delete(shown);
      }
    }
    for (const each of wanted) {
      if (!this.nodes.has(key(each))) {
        const node = this.make(each);
        this.nodes.set(key(each), node);
        this.node.append(node);
      }
    }
  }

  private make(notice: IShown): HTMLElement {
    const node = document.createElement('div');
    node.className = 'mux-notice';
    node.dataset.notice = notice.id;
    const words = document.createElement('p');
    words.textContent = notice.text;
    node.append(words);
    if (notice.button) {
      const { label, press } = notice.button;
      node.append(
        button(label, pressed => {
          pressed.disabled = press();
        })
      );
    }
    if (notice.closable) {
      const close = button('×', () => {
        this.closed.add(notice.id);
        this.nodes.delete(key(notice));
        node.remove();
      });
      close.classList.add('mux-close');
      close.setAttribute('aria-label', 'Close this notice');
      node.append(close);
    }
    return node;
  }

  private readonly node = document.createElement('aside');
  private readonly nodes = new Map<string, HTMLElement>();
  private readonly closed = new Set<string>();
}

const key = (notice: IShown): string =>
  JSON.stringify([notice.id, notice.text, notice.button?.label ?? '', notice.closable]);

function button(label: string, press: (pressed: HTMLButtonElement) => void): HTMLButtonElement {
  const made = document.createElement('button');
  made.type = 'button';
  made.textContent = label;
  made.addEventListener('click', () => press(made));
  return made;
}
