"use strict";
(() => {
  // What containers take: after the page, and every five seconds while somebody looks.
  const fill = async () => {
    const part = document.querySelector("[data-fetch]");
    if (!part) return document.addEventListener("windlass:fresh", fill, { once: true });
    if (!document.hidden) {
      try {
        const answer = await fetch(part.dataset.fetch);
        if (answer.ok && !answer.redirected) part.innerHTML = await answer.text();
      } catch { /* the server is away: look again later */ }
    }
    setTimeout(fill, 5000);
  };
  fill();

  // The app's own log: what comes, behind what is here.
  const log = document.querySelector(".applog[data-events]");
  if (!log) return;
  const LIMIT = 5000;
  const note = document.getElementById("link");
  let from = log.dataset.from, wait = 1000, held = [];
  const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const put = () => {
    const stay = atEnd();
    const html = held.join("");
    held = [];
    log.insertAdjacentHTML("beforeend", html);
    const beyond = log.childElementCount - LIMIT;
    if (beyond > 0) {
      const range = document.createRange();
      range.setStart(log, 0);
      range.setEndBefore(log.children[beyond]);
      range.deleteContents();
    }
    if (stay) log.scrollTop = log.scrollHeight;
  };
  log.scrollTop = log.scrollHeight;
  const listen = () => {
    const source = new EventSource(log.dataset.events + (log.dataset.events.includes("?") ? "&" : "?") + "from=" + encodeURIComponent(from));
    source.onopen = () => { wait = 1000; note.textContent = "following"; };
    source.addEventListener("lines", (event) => {
      from = event.lastEventId;
      if (!event.data) return;
      // What comes in one burst is put up at once.
      if (held.push(JSON.parse(event.data)) === 1) setTimeout(put, 50);
    });
    source.onerror = () => {
      note.textContent = "connecting again…";
      if (source.readyState !== EventSource.CLOSED) return;
      setTimeout(listen, wait);
      wait = Math.min(wait * 2, 30000);
    };
  };
  listen();
})();
