"use strict";
(() => {
  const main = document.getElementById("main");
  const deploy = main.dataset.deploy;
  if (!deploy) return;
  const windlass = window.windlass;
  // The most rows of a phase that stand in the page; the others are a scroll away.
  const LIMIT = 2000;
  const at = (id) => document.getElementById(id);
  const note = (text) => { at("link").textContent = text; };

  // A log: the rows from line first up to next, of total. Numbers live in its attributes.
  const number = (log, name, value) => {
    if (value !== undefined) log.dataset[name] = value;
    return Number(log.dataset[name]);
  };
  const atEnd = (log) => log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const toEnd = (log) => { log.scrollTop = log.scrollHeight; };
  const isWhole = (log) => number(log, "next") > number(log, "total");
  const rows = (ordinal, first, lines) => lines.map((line, i) => {
    const tab = line.indexOf("\t"), n = first + i, id = `p${ordinal}-L${n}`;
    return `<div data-t="${line.slice(0, tab)}"><a id="${id}" href="?line=${ordinal}.${n}#${id}" tabindex="-1">${n}</a>${line.slice(tab + 1)}</div>`;
  }).join("");
  const remove = (log, from, to) => {
    const range = document.createRange();
    range.setStart(log, from);
    range.setEnd(log, to);
    range.deleteContents();
  };
  // What leads to the lines that are not in the page.
  const links = (log) => {
    const section = log.closest("details"), ordinal = log.dataset.ordinal;
    const [earlier, later] = [section.querySelector(".earlier"), section.querySelector(".later")];
    earlier.href = `?before=${ordinal}.${log.dataset.first}#phase-${ordinal}`;
    later.href = `?from=${ordinal}.${log.dataset.next}#phase-${ordinal}`;
    earlier.parentNode.hidden = number(log, "first") < 2;
    later.parentNode.hidden = isWhole(log);
  };
  const append = (log, first, lines) => {
    if (lines.length > LIMIT) {
      first += lines.length - LIMIT;
      lines = lines.slice(-LIMIT);
      log.replaceChildren();
      number(log, "first", first);
    }
    log.insertAdjacentHTML("beforeend", rows(log.dataset.ordinal, first, lines));
    number(log, "next", first + lines.length);
    const more = log.childElementCount - LIMIT;
    if (more > 0) {
      const from = log.scrollHeight, top = log.scrollTop;
      remove(log, 0, more);
      number(log, "first", number(log, "first") + more);
      log.scrollTop = top - (from - log.scrollHeight);
    }
  };
  const prepend = (log, first, lines) => {
    const from = log.scrollHeight, top = log.scrollTop;
    log.insertAdjacentHTML("afterbegin", rows(log.dataset.ordinal, first, lines));
    number(log, "first", first);
    log.scrollTop = top + log.scrollHeight - from;
    if (log.childElementCount > LIMIT) {
      remove(log, LIMIT, log.childElementCount);
      number(log, "next", first + LIMIT);
    }
  };

  // Scrolling on loads what comes there.
  const load = async (log, query, put) => {
    if (log.dataset.loading) return;
    log.dataset.loading = "";
    try {
      const answer = await fetch(`${deploy}/lines?${query}`);
      if (!answer.ok || answer.redirected) return;
      const page = await answer.json();
      number(log, "total", Math.max(page.total, number(log, "total")));
      put(page);
      links(log);
    } catch { /* the links lead there as well */ } finally {
      delete log.dataset.loading;
    }
  };
  // Only for who still looks there: what comes at one end goes at the other.
  const earlier = (log, asked) => {
    const first = number(log, "first");
    if (first < 2) return;
    return load(log, `before=${log.dataset.ordinal}.${first}`, (page) => {
      if (number(log, "first") === page.next && (asked || log.scrollTop < 400)) prepend(log, page.first, page.lines);
    });
  };
  const later = (log, asked) => {
    const next = number(log, "next");
    if (isWhole(log)) return;
    return load(log, `from=${log.dataset.ordinal}.${next}`, (page) => {
      const left = log.scrollHeight - log.scrollTop - log.clientHeight;
      if (number(log, "next") === page.first && (asked || left < 400)) append(log, page.first, page.lines);
    });
  };
  const place = async (log, query, show) => {
    await load(log, query, (page) => {
      log.replaceChildren();
      number(log, "first", page.first);
      append(log, page.first, page.lines);
      show(log);
    });
  };
  const scrolled = (event) => {
    const log = event.target;
    if (!log.dataset || !log.dataset.ordinal) return;
    if (log.scrollTop < 200) earlier(log);
    if (log.scrollHeight - log.scrollTop - log.clientHeight < 200) later(log);
  };
  document.addEventListener("scroll", scrolled, { capture: true, passive: true });
  at("sections").addEventListener("click", (event) => {
    const section = event.target.closest("details.phase");
    if (!section) return;
    section.dataset.kept = "";
    const link = event.target.closest("a");
    if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const log = section.querySelector(".log"), query = link.search.slice(1);
    if (link.closest(".log")) {
      // The row is here: only the address changes.
      event.preventDefault();
      location.hash = link.hash;
      history.replaceState(null, "", link.href);
    } else if (query.startsWith("before=") || query.startsWith("from=")) {
      event.preventDefault();
      const top = () => { log.scrollTop = 0; };
      if (link.matches(".earlier")) earlier(log, true)?.then(() => log.focus());
      else if (link.matches(".later")) later(log, true)?.then(() => log.focus());
      else place(log, query, query.startsWith("from=") ? top : toEnd).then(() => log.focus());
    }
  });
  // A line that is named alone, and is not in the page.
  const find = () => {
    const line = /^#p(\d+)-L(\d+)$/.exec(location.hash);
    if (line && !at(location.hash.slice(1))) location.replace(`?line=${line[1]}.${line[2]}${location.hash}`);
  };
  addEventListener("hashchange", find);
  if (!location.search.includes(location.hash.slice(1).replace(/^p(\d+)-L/, "$1."))) find();
  const fixed = /[?&](line|from|before)=/.test(location.search);
  if (!fixed) document.querySelectorAll("#sections .log").forEach(toEnd);
  // What is closed has no height, and forgets where it was.
  at("sections").addEventListener("toggle", (event) => {
    const section = event.target;
    if (!section.open) section.dataset.shut = "";
    else if (!fixed || "shut" in section.dataset) {
      const log = section.querySelector(".log");
      toEnd(log);
      // Few long lines come with the page, and may not fill it.
      if (log.scrollTop < 200) earlier(log);
    }
  }, true);
  if (!main.dataset.events) return;

  // Its events, from where the page ends. Lines wait for the next frame, and no more of them than stay.
  let from = main.dataset.from;
  let wait = 1000;
  const waiting = new Map();
  const flush = () => {
    for (const [ordinal, { first, lines }] of waiting) {
      const section = at("phase-" + ordinal);
      if (!section) continue;
      const log = section.querySelector(".log");
      const total = first + lines.length - 1, next = number(log, "next");
      const stay = atEnd(log);
      const whole = isWhole(log);
      number(log, "total", Math.max(total, number(log, "total")));
      // More at once than stay in the page: it goes on from them, for who looks at its end.
      if (first > next && whole && stay && lines.length >= LIMIT) {
        log.replaceChildren();
        number(log, "first", first);
        append(log, first, lines);
      } else if (first <= next && next <= total) {
        // Nothing is taken away from who reads further up.
        const fresh = lines.slice(next - first);
        if (stay || log.childElementCount + fresh.length <= LIMIT) append(log, next, fresh);
      }
      if (stay && whole) toEnd(log);
      links(log);
      if (stay && !isWhole(log)) later(log);
    }
    waiting.clear();
  };
  const lines = (event) => {
    const told = JSON.parse(event.data);
    if (!waiting.size) requestAnimationFrame(flush);
    const old = waiting.get(told.ordinal);
    if (old && old.first + old.lines.length === told.first) {
      for (const line of told.lines) old.lines.push(line);
      if (old.lines.length > 2 * LIMIT) {
        old.first += old.lines.length - LIMIT;
        old.lines = old.lines.slice(-LIMIT);
      }
    } else waiting.set(told.ordinal, { first: told.first, lines: told.lines });
    from = event.lastEventId;
  };
  // The server is far ahead: what lies between can be scrolled to.
  const skip = (event) => {
    const told = JSON.parse(event.data);
    waiting.delete(told.ordinal);
    const section = at("phase-" + told.ordinal);
    if (section) {
      const log = section.querySelector(".log");
      if (isWhole(log) && atEnd(log)) {
        log.replaceChildren();
        number(log, "first", told.first);
        number(log, "next", told.first);
      }
      number(log, "total", Math.max(told.first - 1, number(log, "total")));
      links(log);
    }
    from = event.lastEventId;
  };
  const put = (told, parts) => {
    for (const part of parts) {
      if (told[part] === undefined || told[part] === null) continue;
      const fresh = at(part).cloneNode(false);
      fresh.innerHTML = told[part];
      windlass.become(at(part), fresh);
    }
    document.dispatchEvent(new CustomEvent("windlass:state"));
  };
  const phase = (event) => {
    const told = JSON.parse(event.data);
    put(told, ["head", "timings", "changes"]);
    const section = at("phase-" + told.ordinal);
    if (section) section.querySelector("summary").innerHTML = told.summary;
    else if (told.section) {
      // What went well makes room for what goes on, unless somebody reads it.
      for (const e of document.querySelectorAll("details.phase[open]:not([data-kept])"))
        if (!e.querySelector(".badge.bad") && !fixed) e.open = false;
      at("sections").insertAdjacentHTML("beforeend", told.section);
    }
    note(told.name + " " + told.status);
    if (event.lastEventId) from = event.lastEventId;
  };

  const listen = () => {
    const source = new EventSource(main.dataset.events + "?from=" + encodeURIComponent(from));
    source.onopen = () => { wait = 1000; note("following"); };
    source.addEventListener("phase", phase);
    source.addEventListener("lines", lines);
    source.addEventListener("skip", skip);
    source.addEventListener("finished", (event) => {
      source.close();
      const told = JSON.parse(event.data);
      flush();
      put(told, ["head", "timings", "changes", "actions"]);
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
