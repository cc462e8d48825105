"use strict";
(() => {
  const ahead = Date.now() - Number(document.body.dataset.now);
  const at = (id) => document.getElementById(id);
  const windlass = (window.windlass ||= {});

  // Durations that still grow, in the form that the server uses.
  const show = (ms) => {
    const s = Math.max(0, Math.floor(ms / 1000));
    const two = (n) => String(n).padStart(2, "0");
    if (s < 60) return s + ".0s";
    if (s < 3600) return Math.floor(s / 60) + "m " + two(s % 60) + "s";
    return Math.floor(s / 3600) + "h " + two(Math.floor((s % 3600) / 60)) + "m";
  };

  // Instants: how long ago, kept true; exactly, in the viewer's own zone, when pointed at or clicked.
  const exactly = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
  const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
  const ago = (then) => {
    const s = Math.max(0, Math.floor((Date.now() - ahead - then) / 1000));
    if (s < 10) return "just now";
    if (s < 60) return s + " s ago";
    if (s < 3600) return Math.floor(s / 60) + " min ago";
    if (s < 86400) return Math.floor(s / 3600) + " h ago";
    return s < 2592000 ? Math.floor(s / 86400) + " d ago" : day.format(then);
  };
  windlass.times = (root) => {
    for (const e of root.querySelectorAll("time[datetime]")) {
      const then = new Date(e.dateTime);
      const [title, text] = [exactly.format(then), ago(then)];
      if (e.title !== title) e.title = title;
      const shown = "exact" in e.dataset ? title : text;
      if (e.textContent !== shown) e.textContent = shown;
    }
  };
  windlass.times(document);
  document.addEventListener("click", (event) => {
    const time = event.target.closest("time[datetime]");
    if (!time || time.closest("summary, a, button")) return;
    if ("exact" in time.dataset) delete time.dataset.exact;
    else time.dataset.exact = "";
    windlass.times(time.parentElement);
  });

  setInterval(() => {
    windlass.times(document);
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

  // What is typed stands in the commands beside it.
  document.addEventListener("input", (event) => {
    const name = event.target.dataset.typedInto;
    if (!name) return;
    for (const e of document.querySelectorAll(`[data-typed="${name}"]`)) {
      e.dataset.first ??= e.textContent;
      e.textContent = event.target.value.trim() || e.dataset.first;
    }
  });

  // Who sees the end of a log still does once the screen is turned. The logs that are seen elsewhere:
  const left = new WeakSet();
  document.addEventListener("scroll", ({ target }) => {
    if (!target.matches?.(".log")) return;
    if (target.scrollHeight - target.scrollTop - target.clientHeight < 40) left.delete(target);
    else left.add(target);
  }, { capture: true, passive: true });
  addEventListener("resize", () => {
    for (const log of document.querySelectorAll(".log"))
      if (!left.has(log) && !log.querySelector(":target")) log.scrollTop = log.scrollHeight;
  });

  // One open question at a time; Escape takes it back.
  const close = (but) => {
    for (const e of document.querySelectorAll("details.ask[open]")) {
      if (e === but) continue;
      // Who stands in it is not left nowhere.
      if (e.contains(document.activeElement)) e.querySelector("summary").focus();
      e.open = false;
    }
  };
  document.addEventListener("click", (event) => close(event.target.closest("details.ask")));
  document.addEventListener("keydown", (event) => event.key === "Escape" && close());
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#phase-"]');
    const section = link && at(link.hash.slice(1));
    if (section) section.open = true;
  });
})();
