// Keeps a page true while it is open: one WebSocket per page, and plain requests where sockets do not get through.
// Everything that the server says is written as text (textContent), never as markup; the organizers' page takes over
// parts of a page that the server has rendered and escaped. Without this file every page still works by itself.
"use strict";

(() => {
  const page = document.body.dataset;
  const RETRY_FIRST_MS = 500;
  const RETRY_MAX_MS = 15000; // a room of hundreds comes back within this after a restart, spread by jitter
  const QUIET_FAILURES = 1; // one lost connection is not worth a word
  const POLL_AFTER_FAILURES = 3; // some networks let no WebSocket through
  const FIRST_WORD_MS = 20000; // some networks let a WebSocket through and nothing over it; the server speaks at once
  const ENTER_SPREAD_MS = 400; // many enter in the same moment when the doors open
  const SESSION_ENDED = 4401;

  const loadedAt = Date.now();
  let socket = null;
  let failures = 0;
  let retry = 0;
  let entering = false;

  const byId = (id) => document.getElementById(id);

  const setText = (node, text) => {
    if (node && node.textContent !== text) node.textContent = text;
  };

  // --- attendees -----------------------------------------------------------------------------------------------

  const toLogin = () => {
    const here = location.pathname + location.search;
    location.replace(page.login + "?next=" + encodeURIComponent(here));
  };

  // The answer to a form leads on by itself: a logout ends the session before its answer is here.
  const sending = () => document.querySelector("form[data-sent]") !== null;

  const enter = () => {
    if (entering) return;
    entering = true;
    const held = Number(page.delay || 0) - (Date.now() - loadedAt);
    setTimeout(() => location.reload(), Math.max(0, held) + Math.random() * ENTER_SPREAD_MS);
  };

  const showWaiting = (waiting) => {
    const room = byId("waiting");
    if (!room) return;
    room.hidden = waiting === null;
    if (waiting === null) return;
    setText(byId("position"), String(waiting.position));
    setText(byId("total"), waiting.of);
    setText(byId("reason"), waiting.text);
  };

  const showNotice = (notice) => {
    const line = byId("notice");
    if (!line) return;
    line.hidden = !notice;
    setText(line, notice);
  };

  const showCard = (project) => {
    const card = document.querySelector('[data-project="' + CSS.escape(project.name) + '"]');
    if (!card) return;
    card.dataset.state = project.state;
    setText(card.querySelector(".state"), project.label);
    setText(card.querySelector(".text"), project.text);
    setText(card.querySelector("[data-action]"), project.action);
  };

  const showUpdate = (card, update) => {
    const form = card.querySelector("form.offer");
    if (!form) return;
    form.hidden = !update;
    if (!update) return;
    form.elements.number.value = String(update.number);
    setText(form.querySelector("p"), update.text);
    const button = form.querySelector("button");
    button.hidden = !update.action;
    setText(button, update.action);
  };

  const showUpdates = (notices) => {
    const updates = notices.filter((notice) => notice.kind === "update");
    document.querySelectorAll("[data-project]").forEach((card) => {
      showUpdate(card, updates.find((update) => update.project === card.dataset.project));
    });
  };

  const showBroadcast = (notices) => {
    const line = byId("broadcast");
    if (!line) return;
    const told = notices.find((notice) => notice.kind === "broadcast");
    line.hidden = !told;
    setText(line, told ? told.text : "");
  };

  const showTarget = (view) => {
    const project = view.projects.find((one) => one.name === page.enter);
    if (!project) return;
    if (project.open) {
      setText(byId("target-text"), "It is ready. Opening it now.");
      enter();
      return;
    }
    // A page that was made for a failure has a form, and one for a queue has not: another kind needs another page.
    const kind = view.waiting ? "waiting" : project.state === "failed" ? "failed" : "starting";
    if (kind !== page.kind) {
      enter();
      return;
    }
    setText(byId("target-text"), project.text);
  };

  const showView = (view) => {
    document.title = view.waiting ? view.waiting.title + " · " + page.event : page.title;
    showWaiting(view.waiting);
    showNotice(view.notice);
    view.projects.forEach(showCard);
    showUpdates(view.notices);
    showBroadcast(view.notices);
    if (page.enter) showTarget(view);
  };

  // --- organizers ----------------------------------------------------------------------------------------------

  const takeParts = (fresh) => {
    const focused = document.activeElement && document.activeElement.id;
    document.querySelectorAll("[data-part]").forEach((old) => {
      const part = fresh.getElementById(old.id);
      if (!part || part.isEqualNode(old)) return;
      const open = [...old.querySelectorAll("details[open]")].map((details) => details.id);
      old.replaceWith(document.adoptNode(part));
      open.map(byId).forEach((details) => details && (details.open = true));
    });
    if (focused && byId(focused) && document.activeElement !== byId(focused)) byId(focused).focus();
  };

  let refreshing = false;
  let refreshAgain = false;

  const refresh = async () => {
    refreshAgain = true;
    if (refreshing) return;
    refreshing = true;
    while (refreshAgain) {
      refreshAgain = false;
      try {
        const answer = await fetch(location.pathname, { cache: "no-store", redirect: "error" });
        if (answer.ok) takeParts(new DOMParser().parseFromString(await answer.text(), "text/html"));
      } catch {
        break; // the connection says so as well, and brings the next refresh
      }
    }
    refreshing = false;
  };

  // --- the connection ------------------------------------------------------------------------------------------

  const show = (view) => (page.refresh ? refresh() : showView(view));

  const linkState = () => {
    const note = byId("link-state");
    if (note) note.hidden = failures <= QUIET_FAILURES;
  };

  const poll = async () => {
    try {
      const answer = await fetch(page.live, { cache: "no-store", headers: { Accept: "application/json" } });
      if (answer.status === 401 && !sending()) return toLogin();
      if (answer.ok) show(await answer.json());
    } catch {
      // Still no connection; the next try follows by itself.
    }
    return undefined;
  };

  const again = () => {
    failures += 1;
    linkState();
    if (failures > POLL_AFTER_FAILURES) poll();
    const bound = Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** Math.min(failures - 1, 10));
    clearTimeout(retry);
    retry = setTimeout(connect, bound / 2 + (Math.random() * bound) / 2);
  };

  const connect = () => {
    clearTimeout(retry);
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const mine = new WebSocket(scheme + "//" + location.host + page.live);
    socket = mine;
    const silent = setTimeout(() => {
      if (socket !== mine) return;
      socket = null;
      mine.close();
      failures = Math.max(failures, POLL_AFTER_FAILURES);
      again();
    }, FIRST_WORD_MS);
    mine.onmessage = (message) => {
      if (socket !== mine) return;
      clearTimeout(silent);
      failures = 0;
      linkState();
      show(JSON.parse(message.data));
    };
    mine.onclose = (end) => {
      clearTimeout(silent);
      if (socket !== mine) return;
      socket = null;
      if (end.code === SESSION_ENDED && !sending()) toLogin();
      else again();
    };
  };

  const reconnectNow = () => {
    if (socket === null) connect();
  };

  if (page.live) {
    connect();
    addEventListener("online", reconnectNow);
    addEventListener("pageshow", (shown) => shown.persisted && reconnectNow());
    addEventListener("pagehide", () => {
      const mine = socket;
      socket = null; // a page that is kept for "back" connects anew when it is shown
      clearTimeout(retry);
      if (mine) mine.close();
    });
  }

  // A link to a place inside a document keeps its place through the login.
  document.querySelectorAll('input[name="next"]').forEach((next) => {
    if (location.hash && !next.value.includes("#")) next.value += location.hash;
  });

  // A second press of the button would be a second login.
  document.querySelectorAll("form").forEach((form) => {
    form.addEventListener("submit", (submitted) => {
      if (form.dataset.sent) submitted.preventDefault();
      form.dataset.sent = "yes";
      setTimeout(() => delete form.dataset.sent, 10000);
    });
  });
})();
