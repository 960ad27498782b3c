// The page: a template with {{name}} placeholders and one row per visit.

const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

export function escape(text) {
  return String(text).replace(/[&<>"]/g, (sign) => ESCAPES[sign]);
}

function row({ id, at, agent }) {
  const when = at.slice(0, 19).replace("T", " ");
  return `<tr><td>${escape(id)}</td><td>${escape(when)} UTC</td><td>${escape(agent)}</td></tr>`;
}

export function render(template, { counter, node, visits }) {
  const values = { counter: escape(counter), node: escape(node), rows: visits.map(row).join("\n  ") };
  return template.replace(/{{(\w+)}}/g, (_, name) => values[name]);
}
