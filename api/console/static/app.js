// What every page uses: requests with the session's token, and tables that sort. No library, no build step.

let token = document.querySelector('meta[name="csrf"]')?.content ?? "";

/** A page of ours as the server makes it now; throws where it is none, or where it is another one. */
export async function pageAt(path) {
  const answer = await fetch(path, { headers: { Accept: "text/html" }, credentials: "same-origin" });
  if (!answer.ok || answer.redirected) throw new Error(`${answer.status} ${answer.url}`);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

/** Another tab signed in anew, or the page was kept from before: the token of the session that there is now. */
async function renewed() {
  const answer = await fetch(location.pathname, { headers: { Accept: "text/html" }, credentials: "same-origin" });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const found = page.querySelector('meta[name="csrf"]')?.content ?? "";
  const changed = found !== "" && found !== token;
  if (changed) token = found;
  return changed;
}

/** Ask our own server: `body` goes as JSON, `blob` as it is. Gives the answer's JSON, or throws an Error that says the
 *  problem's detail. */
export async function ask(path, { method = "GET", body, blob, signal, again = true } = {}) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRF-Token"] = token;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, {
    method, headers, signal, credentials: "same-origin", redirect: "error",
    body: blob ?? (body === undefined ? undefined : JSON.stringify(body)),
  });
  const text = await answer.text();
  const value = text ? JSON.parse(text) : null;
  if (answer.status === 403 && method !== "GET" && again && (await renewed())) {
    return ask(path, { method, body, blob, signal, again: false });
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

/** This moment with the browser's offset, as the ledger takes it. */
export function nowText() {
  const at = new Date();
  const offset = -at.getTimezoneOffset();
  const two = (number) => String(Math.floor(Math.abs(number))).padStart(2, "0");
  const local = new Date(at.getTime() + offset * 60000).toISOString().slice(0, 19);
  return `${local}${offset < 0 ? "-" : "+"}${two(offset / 60)}:${two(Math.abs(offset) % 60)}`;
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

/** The rows as CSV. A cell that a spreadsheet would take for a formula gets an apostrophe. */
function csvOf(rows) {
  const cell = (one) => {
    const text = one.textContent.trim().replace(/\s+/g, " ");
    const safe = /^'*[=+\-@\t\r＝＋－＠]/.test(text) && !/^-?[0-9.]+$/.test(text) ? `'${text}` : text;
    return `"${safe.replaceAll('"', '""')}"`;
  };
  return "\ufeff" + rows.map((row) => [...row.cells].map(cell).join(",")).join("\r\n");
}

const PAGES_MAX = 100;

/** All rows of a table: of a list that is longer than its page also those of the pages after it; `cut`: not all. */
async function allRows(table, told) {
  const says = (row) => !row.hidden && row.cells.length > 1;
  const rows = [...table.rows].filter(says);
  let next = table.matches(".paged") ? document.querySelector('main a[rel="next"]') : null;
  for (let page = 2; next && page <= PAGES_MAX; page += 1) {
    told(page);
    const found = await pageAt(next.href);
    rows.push(...[...(found.querySelector("table.paged")?.tBodies[0].rows ?? [])].filter(says));
    next = found.querySelector('main a[rel="next"]');
    if (next) next.href = new URL(next.getAttribute("href"), location.href).href;
  }
  return { rows, cut: next !== null };
}

/** A table gets a button that exports it, and, where it is long, a field that leaves only the rows that say something. */
const LONG = 15;
function arrange(table) {
  if (table.matches(".sortable")) sortable(table);
  const name = document.title.replace(/[^\p{L}\p{N}]+/gu, "-"), label = document.body.dataset.export ?? "CSV";
  const button = make("button", { type: "button", class: "export" }, label);
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const { rows, cut } = await allRows(table, (page) => { button.textContent = `${label} … ${page}`; });
      const file = cut ? `${name}-1-${rows.length - 1}` : name;
      const link = make("a", { href: URL.createObjectURL(new Blob([csvOf(rows)], { type: "text/csv" })), download: `${file}.csv` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    } catch (error) {
      button.after(make("p", { class: "alert", role: "alert" }, error.message));
    } finally {
      button.textContent = label;
      button.disabled = false;
    }
  });
  const place = table.closest(".scroll") ?? table;
  place.after(button);
  if (table.matches(".sortable") && table.tBodies[0].rows.length > LONG) {
    const hint = document.body.dataset.filter ?? "";
    const field = make("input", { type: "search", class: "narrowing", placeholder: hint, "aria-label": hint, autocomplete: "off" });
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of table.tBodies[0].rows) {
        const said = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => said.includes(word));
      }
    });
    place.before(field);
  }
}
document.querySelectorAll("table.sortable, table.paged").forEach(arrange);

/** A part of the page that takes longer is asked for when the rest is there. */
document.querySelectorAll("[data-part]").forEach(async (place) => {
  try {
    const answer = await fetch(place.dataset.part, { headers: { Accept: "text/html" }, credentials: "same-origin" });
    const found = new DOMParser().parseFromString(await answer.text(), "text/html");
    place.replaceChildren(...(found.getElementById(place.id) ?? found.querySelector("main")).childNodes);
  } catch (error) {
    place.replaceChildren(make("p", { class: "alert", role: "alert" }, error.message));
  }
  place.removeAttribute("aria-busy");
  place.querySelectorAll("table.sortable").forEach(arrange);
});

/** What a form sends: its fields that are filled in; of a change only what is different, what was emptied as nothing. */
function bodyOf(form) {
  const fields = [...new FormData(form)];
  if (form.dataset.method !== "PATCH") {
    const body = Object.fromEntries(fields.filter(([, value]) => value !== ""));
    for (const box of form.querySelectorAll('input[type="checkbox"]')) body[box.name] = box.checked;
    return body;
  }
  const before = (field) => field.defaultValue ?? [...field.options].find((one) => one.defaultSelected)?.value ?? "";
  return Object.fromEntries(fields.filter(([name, value]) => value !== before(form.elements[name])).map(
    ([name, value]) => [name, value === "" ? null : value]));
}

/** A form with data-action sends its fields as JSON, says what came of it, and loads the page anew on success. */
document.querySelectorAll("form[data-action]").forEach((form) => {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const said = form.querySelector('[role="status"]') ?? form.appendChild(make("p", { role: "status" }));
    const button = form.querySelector('button[type="submit"]');
    button.disabled = true;
    try {
      await ask(form.dataset.action, { method: form.dataset.method ?? "POST", body: bodyOf(form) });
      location.assign(form.dataset.next ?? location.href);
    } catch (error) {
      said.className = "alert";
      said.textContent = error.message;
      button.disabled = false;
    }
  });
});

/** The field at the top finds whatever is typed: one thing by its code opens at once, else all that could be meant. */
const find = document.querySelector("#find");
find?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const place = document.querySelector("#found"), body = bodyOf(find);
  place.hidden = false;
  try {
    const { found } = await ask("/search", { method: "POST", body });
    const exact = new Set(found.filter((one) => one.exact).map((one) => one.page));
    if (exact.size === 1 && !body.purpose) return location.assign([...exact][0]);
    if (!found.length) return place.replaceChildren(make("p", { class: "hint" }, place.dataset.none));
    const row = (one) => make("tr", {}, make("td", {}, `${one.chinese} ${one.kind}`),
      make("td", { class: "code" }, make("a", { href: one.page }, one.code)), make("td", {}, one.name));
    const heads = place.dataset.heads.split("|").map((text) => make("th", { scope: "col" }, text));
    place.replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...found.map(row))));
  } catch (error) {
    place.replaceChildren(make("p", { class: "alert" }, error.message));
  }
});

/** Personal data of a record: shown where they were masked, for a purpose, after the ledger has noted who looks. */
const reveal = document.querySelector("#reveal");
reveal?.addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const shown = await ask(reveal.dataset.path, { method: "POST", body: bodyOf(reveal) });
    for (const place of document.querySelectorAll("dd[data-field]")) {
      const value = shown[place.dataset.field];
      if (typeof value === "string" && place.textContent.includes("*")) place.textContent = value;
    }
  } catch (error) {
    reveal.querySelector('[role="status"]').textContent = error.message;
  }
});
