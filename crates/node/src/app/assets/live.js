// Keeps the page fresh: on news the live part is fetched again; without JavaScript, reload the page.
(() => {
  const live = document.querySelector("[data-live]");
  const stale = document.getElementById("stale");
  const spoken = document.getElementById("spoken");
  if (!live) return;

  // Changes come in bursts, so one look serves all news of a moment.
  const pause = 400;
  // Ages such as "5 s ago" grow without news.
  const aging = 30_000;
  let due = false;
  let shown = "";

  const swap = (html) => {
    if (html === shown) return;
    const unfolded = [...live.querySelectorAll("details")].map((part) => part.open);
    const focused = live.contains(document.activeElement) && document.activeElement.getAttribute("href");
    live.innerHTML = html;
    shown = html;
    live.querySelectorAll("details").forEach((part, place) => {
      part.open = unfolded[place] ?? part.open;
    });
    if (focused) live.querySelector(`[href="${focused}"]`)?.focus({ preventScroll: true });
  };

  const refresh = async () => {
    if (due) return;
    due = true;
    await new Promise((wait) => setTimeout(wait, pause));
    due = false;
    try {
      const answer = await fetch(live.dataset.live);
      if (answer.ok) swap(await answer.text());
      stale.hidden = answer.ok;
    } catch {
      stale.hidden = false;
    }
  };

  const watch = () => {
    const news = new EventSource("/api/v1/events");
    const mine = (job) => !live.dataset.job || live.dataset.job === job.id;
    news.addEventListener("job", (event) => {
      const job = JSON.parse(event.data);
      if (!mine(job)) return;
      spoken.textContent = `Job ${job.id.slice(0, 8)}: ${job.state}`;
      refresh();
    });
    news.addEventListener("lagged", refresh);
    news.onopen = refresh;
    news.onerror = () => {
      stale.hidden = false;
      // A browser gives up for good when the answer was no stream, such as "too many watch".
      if (news.readyState === EventSource.CLOSED) setTimeout(watch, 5_000);
    };
  };

  watch();
  setInterval(refresh, aging);
})();
