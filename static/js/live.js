"use strict";
(() => {
  const main = document.getElementById("main");
  if (!main.dataset.refresh) return;

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
})();
