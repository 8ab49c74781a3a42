// Of several marks in a figure one is reached by Tab, the others by the arrow keys.

export function roving(marks, act) {
  marks.forEach((mark, i) => {
    mark.setAttribute("tabindex", i ? -1 : 0);
    mark.setAttribute("role", "button");
    mark.addEventListener("click", () => act(i));
    mark.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (step) {
        const next = marks[(i + step + marks.length) % marks.length];
        mark.setAttribute("tabindex", -1);
        next.setAttribute("tabindex", 0);
        next.focus();
      } else if (event.key === "Enter" || event.key === " ") act(i);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
  });
}
