// What every page uses: requests with the session's token, and tables that sort. No library, no build step.

let token = document.querySelector('meta[name="csrf"]')?.content ?? "";

/** Another tab signed in anew, or the page was kept from before: the token of the session that there is now. */
async function renewed() {
  const answer = await fetch(location.pathname, { headers: { Accept: "text/html" }, credentials: "same-origin" });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const found = page.querySelector('meta[name="csrf"]')?.content ?? "";
  const changed = found !== "" && found !== token;
  if (changed) token = found;
  return changed;
}

/** Ask our own server. Gives the answer's JSON, or throws an Error whose message is the problem's detail. */
export async function ask(path, { method = "GET", body, signal, again = true } = {}) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRF-Token"] = token;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, {
    method, headers, signal, credentials: "same-origin", redirect: "error",
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await answer.text();
  const value = text ? JSON.parse(text) : null;
  if (answer.status === 403 && method !== "GET" && again && (await renewed())) {
    return ask(path, { method, body, signal, again: false });
  }
  if (!answer.ok) {
    const breaches = (value?.errors ?? []).map((one) => `${one.path}: ${one.reason}`).join("; ");
    const error = new Error(breaches || value?.detail || value?.title || String(answer.status));
    error.status = answer.status;
    error.problem = value;
    throw error;
  }
  return value;
}

/** An element with text and children; text is never markup. */
export function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Heads of tables become buttons that sort by their column. */
function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = make("button", { type: "button" }, ...head.childNodes);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows];
      const key = (row) => row.cells[column]?.dataset.sort ?? row.cells[column]?.textContent.trim() ?? "";
      const compare = new Intl.Collator("zh-CN", { numeric: true }).compare;
      rows.sort((a, b) => (up ? 1 : -1) * compare(key(a), key(b)));
      table.tBodies[0].append(...rows);
    });
  });
}

/** The table as CSV: what is shown, in its order. A cell that a spreadsheet would take for a formula gets an apostrophe. */
function csvOf(table) {
  const cell = (one) => {
    const text = one.innerText.trim().replace(/\s+/g, " ");
    const safe = /^'*[=+\-@\t\r＝＋－＠]/.test(text) && !/^-?[0-9.]+$/.test(text) ? `'${text}` : text;
    return `"${safe.replaceAll('"', '""')}"`;
  };
  return "\ufeff" + [...table.rows].map((row) => [...row.cells].map(cell).join(",")).join("\r\n");
}

document.querySelectorAll("table.sortable").forEach((table) => {
  sortable(table);
  const name = document.title.replace(/[^\p{L}\p{N}]+/gu, "-");
  const button = make("button", { type: "button", class: "export" }, document.body.dataset.export ?? "CSV");
  button.addEventListener("click", () => {
    const link = make("a", { href: URL.createObjectURL(new Blob([csvOf(table)], { type: "text/csv" })), download: `${name}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  (table.closest(".scroll") ?? table).after(button);
});

/** A form with data-action sends its fields as JSON, says what came of it, and loads the page anew on success. */
document.querySelectorAll("form[data-action]").forEach((form) => {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const said = form.querySelector('[role="status"]') ?? form.appendChild(make("p", { role: "status" }));
    const button = form.querySelector('button[type="submit"]');
    const body = Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== ""));
    for (const box of form.querySelectorAll('input[type="checkbox"]')) body[box.name] = box.checked;
    button.disabled = true;
    try {
      await ask(form.dataset.action, { method: form.dataset.method ?? "POST", body });
      location.assign(form.dataset.next ?? location.href);
    } catch (error) {
      said.className = "alert";
      said.textContent = error.message;
      button.disabled = false;
    }
  });
});
