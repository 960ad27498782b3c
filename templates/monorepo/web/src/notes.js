const form = document.querySelector("form");

async function show() {
  const notes = await (await fetch("/api/notes")).json();
  document.querySelector("ul").replaceChildren(
    ...notes.map(({ text }) => Object.assign(document.createElement("li"), { textContent: text })),
  );
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = JSON.stringify({ text: form.elements.text.value });
  await fetch("/api/notes", { method: "POST", headers: { "content-type": "application/json" }, body });
  form.reset();
  await show();
});

await show();
