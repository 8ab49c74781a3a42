// The shown rows as CSV, quoted as RFC 4180 says.

import { isAccepted, value } from "./report_data.js";

// A leading =, +, − or @ would be run as a formula by a spreadsheet; an apostrophe keeps it a text.
function quoted(field) {
  if (field === null || field === undefined) return "";
  if (typeof field === "number" || typeof field === "boolean") return String(field);
  const text = /^[=+\-@\t\r]/.test(field) ? `'${field}` : String(field);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function csv(shown, columns) {
  const head = ["rank", "id", "formula", "space_group", "space_group_symbol", "accepted"];
  const rows = shown.map((one) => [
    one.rank,
    one.id,
    one.formula,
    one.spacegroup?.number,
    one.spacegroup?.symbol,
    isAccepted(one),
    ...columns.map((column) => value(one, column.key)),
  ]);
  const names = [...head, ...columns.map((column) => column.key)];
  return [names, ...rows].map((row) => row.map(quoted).join(",")).join("\r\n") + "\r\n";
}

export function download(text, name, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
