const WANTED = {
  "all": () => true,
  "won after a rollback": (tree) => tree.recovered,
  "solved": (tree) => tree.solved,
  "not solved": (tree) => !tree.solved,
};

function trees(page) {
  const view = make("div"), list = make("div", { class: "list" });
  const pick = make("select", { "aria-label": "which tasks", onchange: fill },
    ...Object.keys(WANTED).map((name) => make("option", {}, name)));
  let open = page.first;
  function show(place) {
    open = place;
    view.replaceChildren(treeView(place));
    fill();
  }
  function fill() {
    const found = page.trees.map((tree, place) => [tree, place]).filter(([tree]) => WANTED[pick.value](tree));
    list.replaceChildren(...found.map(([tree, place]) => make("button", { type: "button",
      "aria-current": String(place === open), onclick: () => show(place) },
    make("span", {}, tree.name),
    make("span", { class: tree.solved ? "won" : "lost" },
      `${tree.solved ? (tree.recovered ? "\u21ba solved" : "solved") : "not solved"}, ${tree.attempts}`))));
    if (!found.length) list.replaceChildren(make("p", { class: "quiet" }, "none"));
  }
  show(page.first);
  return [make("section", {}, make("h2", {}, "Tasks"), make("div", { class: "row" }, pick), list,
    page.left_out ? make("p", { class: "quiet" }, `${counted(page.left_out, "tree")} left out for size; the figures include them.`) : null),
  make("section", {}, view)];
}

const page = read("page");
document.getElementById("main").replaceChildren(
  ...page.sections.map((part) => draws[part.kind](part)),
  ...(page.figures.length ? [figures(page.figures)] : []),
  ...(page.trees.length ? trees(page) : []));
