"use strict";
(() => {
  const LIMIT = 5000;
  const main = document.getElementById("main");
  const ahead = Date.now() - Number(document.body.dataset.now);
  const at = (id) => document.getElementById(id);

  // Durations that still grow, in the form that the server uses.
  const show = (ms) => {
    const s = Math.max(0, Math.floor(ms / 1000));
    const two = (n) => String(n).padStart(2, "0");
    if (s < 60) return s + ".0s";
    if (s < 3600) return Math.floor(s / 60) + "m " + two(s % 60) + "s";
    return Math.floor(s / 3600) + "h " + two(Math.floor((s % 3600) / 60)) + "m";
  };
  setInterval(() => {
    for (const e of document.querySelectorAll("[data-since]"))
      e.textContent = show(Date.now() - ahead - Number(e.dataset.since));
    // The running phase's bar grows, and the scale of all with it.
    const table = document.querySelector("[data-length]");
    if (!table) return;
    table.dataset.at ||= Date.now();
    const more = (1000 * (Date.now() - table.dataset.at)) / table.dataset.length;
    for (const bar of table.querySelectorAll(".bar")) {
      bar.setAttribute("viewBox", `0 0 ${1000 + more} 10`);
      const rect = bar.firstElementChild;
      rect.dataset.width ||= rect.getAttribute("width");
      if (bar.matches(".grows")) rect.setAttribute("width", Number(rect.dataset.width) + more);
    }
  }, 1000);

  // One open question at a time; Escape takes it back.
  const close = (but) => {
    for (const e of document.querySelectorAll("details.ask[open]")) if (e !== but) e.open = false;
  };
  document.addEventListener("click", (event) => close(event.target.closest("details.ask")));
  document.addEventListener("keydown", (event) => event.key === "Escape" && close());
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#phase-"]');
    const section = link && at(link.hash.slice(1));
    if (section) section.open = true;
  });

  // Lists: fetched again while a deploy goes on, unless someone is about to ask for something.
  const refresh = async () => {
    const again = Number(main.dataset.refresh) * 1000;
    if (!again) return;
    try {
      const busy = () => document.querySelector("details[open]") || document.activeElement.matches("summary");
      if (!document.hidden && !busy()) {
        const answer = await fetch(location.href);
        if (answer.redirected || !answer.ok) return location.reload();
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = page.getElementById("main");
        if (busy()) return setTimeout(refresh, again);
        const href = document.activeElement.getAttribute("href");
        main.replaceChildren(...fresh.childNodes);
        if (href) [...main.querySelectorAll("a")].find((a) => a.getAttribute("href") === href)?.focus({ preventScroll: true });
        if (!fresh.dataset.refresh) return;
      }
    } catch { /* the server is away: look again later */ }
    setTimeout(refresh, again);
  };
  if (main.dataset.refresh) setTimeout(refresh, Number(main.dataset.refresh) * 1000);

  // A deploy: its events, from where the page ends.
  if (!main.dataset.events) return;
  let from = main.dataset.from;
  let wait = 1000;
  const note = (text) => { at("link").textContent = text; };
  const atEnd = (log) => log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const toEnd = (log) => { log.scrollTop = log.scrollHeight; };
  document.querySelectorAll(".log").forEach(toEnd);

  const phase = (event) => {
    const told = JSON.parse(event.data);
    at("head").innerHTML = told.head;
    at("timings").innerHTML = told.timings;
    const section = at("phase-" + told.ordinal);
    if (section) section.querySelector("summary").innerHTML = told.summary;
    else if (told.section) {
      // What went well makes room for what goes on, unless somebody reads it.
      for (const e of document.querySelectorAll("details.phase[open]:not([data-kept])"))
        if (!e.querySelector(".badge.bad")) e.open = false;
      at("sections").insertAdjacentHTML("beforeend", told.section);
    }
    note(told.name + " " + told.status);
    if (event.lastEventId) from = event.lastEventId;
  };
  const lines = (event) => {
    const told = JSON.parse(event.data);
    const section = at("phase-" + told.ordinal);
    if (section) {
      const log = section.querySelector(".log");
      const stay = atEnd(log);
      log.insertAdjacentHTML("beforeend", told.html);
      if (log.childElementCount > LIMIT) {
        section.querySelector(".cut").hidden = false;
        const range = document.createRange();
        range.setStart(log, 0);
        range.setEndBefore(log.children[log.childElementCount - LIMIT]);
        range.deleteContents();
      }
      if (stay) toEnd(log);
    }
    from = event.lastEventId;
  };
  at("sections").addEventListener("click", (event) => {
    const section = event.target.closest("details.phase");
    if (section) section.dataset.kept = "";
  });

  const listen = () => {
    const source = new EventSource(main.dataset.events + "?from=" + encodeURIComponent(from));
    source.onopen = () => { wait = 1000; note("following"); };
    source.addEventListener("phase", phase);
    source.addEventListener("lines", lines);
    source.addEventListener("finished", (event) => {
      source.close();
      const told = JSON.parse(event.data);
      for (const part of ["head", "timings", "actions"]) at(part).innerHTML = told[part];
      note("ended: " + told.status);
    });
    source.onerror = () => {
      note("connecting again…");
      if (source.readyState !== EventSource.CLOSED) return;
      // Refused for good, as by a proxy whose server starts again: the browser does not try.
      setTimeout(listen, wait);
      wait = Math.min(wait * 2, 30000);
    };
  };
  listen();
})();
