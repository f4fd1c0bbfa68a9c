// Keeps the page fresh: on news the live part is fetched again; without JavaScript, reload the page.
(() => {
  const live = document.querySelector("[data-live]");
  const stale = document.getElementById("stale");
  if (!live) return;
  let due = false;
  const refresh = async () => {
    if (due) return;
    due = true;
    await new Promise((wait) => setTimeout(wait, 150));
    due = false;
    try {
      const answer = await fetch(live.dataset.live);
      if (answer.ok) live.innerHTML = await answer.text();
      stale.hidden = answer.ok;
    } catch {
      stale.hidden = false;
    }
  };
  const news = new EventSource("/api/v1/events");
  news.onmessage = refresh;
  news.onopen = refresh;
  news.onerror = () => { stale.hidden = false; };
})();
