// The buttons: they appear once a token is entered, which stays in this page's memory and goes to its own worker only.

const element = (id) => document.getElementById(id);
const BODIES = { cutover: { fence: "replicas" } };
const QUESTIONS = { cutover: "Fence the source and end the replication?" };

async function control(verb) {
  if (QUESTIONS[verb] && !window.confirm(QUESTIONS[verb])) return;
  const answer = element("control-answer");
  answer.textContent = `${verb}: asking`;
  try {
    const response = await fetch(`control/${verb}`, {
      method: "POST",
      headers: { Authorization: `Bearer ${element("token").value}`, "Content-Type": "application/json" },
      body: JSON.stringify(BODIES[verb] ?? {}),
    });
    const found = await response.json();
    answer.textContent = found.ok ? `${verb}: taken` : `${verb}: ${found.reason}`;
  } catch {
    answer.textContent = `${verb}: no answer`;
  }
}

// Let the buttons work; `ask` draws the page again.
export function follow(ask) {
  element("token").addEventListener("input", () => {
    element("buttons").hidden = !element("token").value;
  });
  for (const button of document.querySelectorAll("button[data-verb]")) {
    button.addEventListener("click", () => control(button.dataset.verb).then(ask));
  }
}
