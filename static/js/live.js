"use strict";
(() => {
  const main = document.getElementById("main");
  const windlass = (window.windlass ||= {});

  // Title and icon say from afar how it stands.
  const icon = document.getElementById("icon");
  const words = { running: "Running", queued: "Running", failed: "Failed", interrupted: "Failed", live: "Live" };
  const show = () => {
    const part = main.querySelector("[data-state]") || main;
    const word = words[part.dataset.state];
    const plain = document.title.replace(/^(Running|Failed|Live) · /, "");
    const title = (word ? word + " · " : "") + plain;
    if (title !== document.title) document.title = title;
    const href = icon.dataset[word ? word.toLowerCase() : "calm"];
    if (icon.getAttribute("href") !== href) icon.setAttribute("href", href);
  };
  document.addEventListener("windlass:state", show);
  show();

  // Makes `old` what `fresh` is and leaves alone what is alike: open questions, the focus, what is half
  // typed, what is selected, and where one has scrolled to. A part with data-keep or data-fetch is
  // another script's.
  const key = (e) => e.id || (e.localName === "li" && e.querySelector("a[href]")?.getAttribute("href")) || "";
  const alike = (a, b) => a.nodeName === b.nodeName && key(a) === key(b);
  const drop = (e) => {
    const next = e.nextSibling;
    e.remove();
    return next;
  };
  const morph = (old, fresh) => {
    if (old.nodeType !== 1) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    if ("keep" in old.dataset || "fetch" in old.dataset || old.isEqualNode(fresh)) return;
    if (old.dataset?.since && old.dataset.since === fresh.dataset.since) return;
    for (const { name } of [...old.attributes])
      if (!fresh.hasAttribute(name) && !(name === "open" && old.localName === "details")) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes)
      if (old.getAttribute(name) !== value && !(name === "open" && old.localName === "details")) old.setAttribute(name, value);
    const wanted = [...fresh.childNodes];
    const keys = new Set(wanted.map((e) => e.nodeType === 1 && key(e)));
    for (const e of [...old.children]) if (key(e) && !keys.has(key(e))) e.remove();
    let at = old.firstChild;
    for (const [n, want] of wanted.entries()) {
      // What is not wanted any more does not part what stays from its place.
      while (at && !alike(at, want) && (at.nodeType !== 1 || !wanted.slice(n).some((e) => alike(at, e)))) at = drop(at);
      const named = want.nodeType === 1 && key(want);
      const have = named ? [...old.children].find((e) => alike(e, want)) : at;
      if (!have || !alike(have, want)) {
        old.insertBefore(document.importNode(want, true), at);
        continue;
      }
      if (have === at) at = at.nextSibling;
      else old.insertBefore(have, at);
      morph(have, want);
    }
    while (at) at = drop(at);
  };
  // As that, with the focus left where it is.
  const become = windlass.become = (old, fresh) => {
    windlass.times?.(fresh);
    const focus = document.activeElement;
    morph(old, fresh);
    if (focus !== document.activeElement && focus.isConnected) focus.focus({ preventScroll: true });
  };

  // What changed, for who does not see it: parts say it themselves.
  const sayings = (root) => [...root.querySelectorAll("[data-says]")].map((e) => [key(e), e.dataset.says]);
  const say = (before, after) => {
    const news = after.filter(([of, text]) => text && before.has(of) && before.get(of) !== text);
    if (news.length) document.getElementById("says").textContent = news.slice(0, 3).map(([, text]) => text).join(". ");
  };

  const take = (page) => {
    const fresh = page.getElementById("main");
    const before = new Map(sayings(document));
    become(main, fresh);
    document.title = page.title;
    say(before, sayings(document));
    show();
    document.dispatchEvent(new CustomEvent("windlass:fresh"));
  };

  if (!main.dataset.live) return;
  let stale = false;
  let busy = false;
  let wait = 1000;
  // What was asked for by a form is under way: the page it leads to comes, and nothing is to hinder it.
  let leaving = false;
  addEventListener("submit", () => { leaving = true; });
  const refresh = async () => {
    stale = true;
    if (busy || leaving || document.hidden) return;
    busy = true;
    try {
      while (stale && !document.hidden) {
        stale = false;
        const answer = await fetch(location.href, { headers: { accept: "text/html" } });
        if (leaving) return;
        if (answer.redirected || (answer.status >= 400 && answer.status < 500)) return location.reload();
        if (!answer.ok) throw answer.status;
        take(new DOMParser().parseFromString(await answer.text(), "text/html"));
      }
    } catch {
      // The server is away: once it is back its events begin again, and this is tried again as well.
      stale = true;
      setTimeout(refresh, wait);
      wait = Math.min(wait * 2, 30000);
    } finally {
      busy = false;
    }
  };

  // A browser has few connections to a server; so a tab in the background has one only while something
  // runs there, for its title to tell the end. Otherwise it looks now and then whether something does.
  const SELDOM = 15000;
  let source;
  let look;
  let from = main.dataset.edition;
  const listen = () => {
    source = new EventSource(main.dataset.live + "?from=" + encodeURIComponent(from));
    source.onopen = () => { wait = 1000; };
    source.addEventListener("changed", (event) => {
      from = event.lastEventId;
      if (document.hidden) peek();
      else refresh();
    });
    source.onerror = () => {
      if (source.readyState !== EventSource.CLOSED) return;
      // Refused for good, as by a proxy whose server starts again: the browser does not try.
      source = undefined;
      setTimeout(() => {
        if (source) return;
        if (!document.hidden) refresh();
        settle();
      }, wait);
      wait = Math.min(wait * 2, 30000);
    };
  };
  // In the background only title and icon are kept current.
  const peek = async () => {
    stale = true;
    try {
      const answer = await fetch(location.href);
      if (answer.redirected || (answer.status >= 400 && answer.status < 500)) return;
      if (!answer.ok) throw answer.status;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      main.dataset.state = page.getElementById("main").dataset.state;
      show();
    } catch { /* the server is away: look again later */ }
    settle();
  };
  const settle = () => {
    const idle = document.hidden && !/^(running|queued)$/.test(main.dataset.state);
    clearTimeout(look);
    if (idle) {
      source?.close();
      source = undefined;
      look = setTimeout(peek, SELDOM);
    } else if (!source) listen();
  };
  document.addEventListener("visibilitychange", () => {
    settle();
    if (!document.hidden && stale) refresh();
  });
  // A page out of the browser's own memory is as old as it was left.
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    leaving = false;
    refresh();
  });
  settle();
})();
