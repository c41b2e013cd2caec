// What is new is told without loading the page: one stream of notices for a page. A list says so; where the page names
// parts that are to be fresh (data-refresh, the ids), they are fetched again and put in their place.

import { pageAt } from "/static/app.js";

const place = document.querySelector("#live");
const EVERY_MS = 30_000, LEAST_MS = 2_000;

/** The parts of the page as the server makes them now. */
async function refresh(ids) {
  const page = await pageAt(location.href);
  for (const id of ids) {
    const now = document.getElementById(id), then = page.getElementById(id);
    if (now && then && now.innerHTML !== then.innerHTML) now.replaceChildren(...then.childNodes);
  }
  document.querySelectorAll(".narrowing").forEach((field) => field.dispatchEvent(new Event("input")));
}

if (place) {
  let count = 0, due = false;
  const ids = place.dataset.refresh?.split(" ") ?? [];
  const stream = new EventSource("/notices/stream?kind=warning.");
  const told = () => {
    if (ids.length) {
      if (due) return;
      due = true;
      setTimeout(() => { due = false; refresh(ids).catch(() => {}); }, count++ ? LEAST_MS : 0);
      return;
    }
    count += 1;
    const link = document.createElement("a");
    link.href = location.href;
    link.textContent = `${count} ${place.dataset.new}`;
    place.replaceChildren(link);
    place.classList.add("fresh");
  };
  for (const type of ["raised", "escalated", "overdue", "closed", "reopened", "handled", "changed"]) {
    stream.addEventListener(`city.suyuan.warning.${type}`, told);
  }
  const timer = ids.length ? setInterval(() => { if (!document.hidden) refresh(ids).catch(() => {}); }, EVERY_MS) : 0;
  addEventListener("pagehide", () => { stream.close(); clearInterval(timer); });
}
