// Columns of the table that the reader wants to see.

import { columns } from "./report_data.js";
import { state } from "./store.js";

const FIRST = 6;

export function shownColumns() {
  const all = columns();
  if (state.columns) return all.filter(({ key }) => state.columns.includes(key));
  const preferred = all.filter((column) => column.shown !== false);
  return preferred.slice(0, FIRST);
}

export function columnTitle(column) {
  return column.unit ? `${column.label} (${column.unit})` : column.label;
}
