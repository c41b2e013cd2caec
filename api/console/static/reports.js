// A report that takes long: give it as a job, and look at the job.

import { ask } from "/static/app.js";

const form = document.querySelector("#long");

form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  const parameters = Object.fromEntries([...form.querySelectorAll("[data-parameter]")].map((one) => [one.name, one.value]));
  const value = (name) => form.querySelector(`input[name="${name}"]:not([data-parameter])`).value;
  button.disabled = true;
  try {
    const body = { parameters, format: value("format"), language: value("language"), job: value("job") };
    const job = await ask(`/reports/${form.dataset.report}`, { method: "POST", body });
    location.assign(`/console/reports/jobs/${job.job}`);
  } catch (error) {
    const said = form.querySelector('[role="status"]');
    said.className = "alert";
    said.textContent = error.message;
    button.disabled = false;
  }
});
