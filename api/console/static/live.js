// Lists that say when there is something new: one stream of notices for a page.

const place = document.querySelector("#live");
if (place) {
  let count = 0;
  const stream = new EventSource("/notices/stream?kind=warning.");
  const told = () => {
    count += 1;
    const link = document.createElement("a");
    link.href = location.href;
    link.textContent = `${count} ${place.dataset.new}`;
    place.replaceChildren(link);
    place.classList.add("fresh");
  };
  for (const type of ["raised", "escalated", "overdue", "closed", "reopened", "handled"]) {
    stream.addEventListener(`warning.${type}`, told);
  }
  addEventListener("pagehide", () => stream.close());
}
