// Recalls and stop orders that the whole city is told, or this node: shown until somebody has read them.

import { ask, make } from "/static/app.js";

const place = document.querySelector("#notices");
const EVERY_MS = 20000;
const seen = () => Number(localStorage.getItem("notice") ?? 0);

function line(one) {
  const words = place.dataset;
  const what = one.type.includes(".recall.") ? words.recall : words.hold;
  const read = make("button", { type: "button" }, words.read);
  const made = make("li", { class: "alert" }, `${what} ${one.subject} `, read);
  read.addEventListener("click", () => {
    localStorage.setItem("notice", String(Math.max(seen(), Number(one.id))));
    made.remove();
  });
  return made;
}

async function look() {
  if (!navigator.onLine) return;
  try {
    const found = await ask(`/notices?kind=recall.filed&kind=hold.filed&limit=50&after=${seen()}`);
    place.replaceChildren(...found.notices.map(line));
  } catch { /* not signed in any more, or no network: the page says so elsewhere */ }
}

look();
setInterval(look, EVERY_MS);
