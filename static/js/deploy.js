"use strict";
(() => {
  const main = document.getElementById("main");
  if (!main.dataset.events) return;
  const LIMIT = 5000;
  const at = (id) => document.getElementById(id);

  // A deploy: its events, from where the page ends.
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
