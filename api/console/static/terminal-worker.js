// Keeps the terminal's page and files for when there is no network. Data is never kept here: that is the page's own work.

const KEPT = "suyuan-terminal-3";
const FILES = ["/terminal", "/static/suyuan.css", "/static/app.js", "/static/terminal.js", "/static/notices.js", "/static/icon.svg"];

self.addEventListener("install", (event) => event.waitUntil(
  caches.open(KEPT).then((cache) => Promise.all(FILES.map((file) => fetch(file, { credentials: "same-origin" })
    .then((answer) => (answer.ok && !answer.redirected ? cache.put(file, answer) : undefined))))).then(() => self.skipWaiting())));
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || url.origin !== location.origin || !FILES.includes(url.pathname)) return;
  event.respondWith(fetch(event.request).then((answer) => {
    if (answer.ok && !answer.redirected) {
      const copy = answer.clone();
      caches.open(KEPT).then((cache) => cache.put(url.pathname, copy));
    }
    return answer;
  }).catch(() => caches.match(url.pathname)));
});
