// The gate of a market: what is shown becomes one access check; the answer is large, with every reason.

import { ask, make, nowText } from "/static/app.js";

const form = document.querySelector("#gate-form");
const papers = document.querySelector("#papers");
const verdict = document.querySelector("#verdict");

function addPaper() {
  const made = document.querySelector("#paper").content.cloneNode(true);
  made.querySelector(".drop").addEventListener("click", (event) => event.target.closest(".paper").remove());
  papers.append(made);
}

function documentOf(row) {
  const value = (name) => row.querySelector(`[name="${name}"]`).value.trim();
  const made = { type: value("type"), number: value("number"), issued: value("issued") };
  if (value("expires")) made.expires = value("expires");
  return made;
}

/** What a person sees of a decision. */
function show(answer) {
  const words = verdict.dataset;
  verdict.className = `big ${answer.decision}`;
  const reasons = (answer.reasons ?? []).map((one) =>
    make("li", {}, make("strong", {}, `${one.chinese} `), make("span", { class: "en", lang: "en" }, one.english ?? ""),
      one.bring ? make("p", {}, `${words.bring}: ${typeof one.bring === "string" ? one.bring : Object.values(one.bring).join(" ")}`) : null,
      make("small", {}, ` ${one.source ?? ""}`)));
  verdict.replaceChildren(
    make("p", { class: "answer" }, words[answer.decision]),
    answer.holdUntil ? make("p", {}, `${words.until} ${new Date(answer.holdUntil).toLocaleString("zh-CN")}`) : "",
    make("ul", {}, ...reasons));
}

form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const value = (name) => form.elements[name].value.trim();
  const goods = { goods: value("goods"), quantity: value("quantity"), unit: value("unit") };
  if (value("lot")) goods.lot = value("lot");
  const at = nowText();
  const body = {
    check: crypto.randomUUID(), node: form.dataset.node, party: value("party"), at, goods: [goods],
    documents: [...papers.querySelectorAll(".paper")].map(documentOf),
    tests: value("result") ? [{ kind: "rapid", result: value("result"), at }] : [],
  };
  try {
    show(await ask("/access-checks", { method: "POST", body }));
  } catch (error) {
    verdict.className = "big alert";
    verdict.textContent = error.message;
  }
});
document.querySelector("#add-paper")?.addEventListener("click", addPaper);
if (papers) addPaper();
