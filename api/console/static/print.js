// A button that prints the page: an inline handler would not be allowed.

document.querySelector("#print")?.addEventListener("click", () => print());
