"use strict";
(() => {
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
})();
