// What makes pages livelier: parts that move are loaded again, keys go through lists. Everything works without.
"use strict";

const theme = document.getElementById("theme");
theme.hidden = false;
theme.addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
});

// Events say which parts to load again; a part says by data-live which events it is about. Once a second at the most.
const waiting = new Set();
function moved(kind) {
  const live = document.querySelector("[data-live]");
  if (!live || waiting.has(live.id) || !(kind === "reload" || live.dataset.live.split(" ").includes(kind))) return;
  // What somebody is in the middle of stays.
  if (live.contains(document.activeElement) && ["INPUT", "SELECT", "TEXTAREA"].includes(document.activeElement.tagName)) return;
  waiting.add(live.id);
  setTimeout(() => {
    waiting.delete(live.id);
    const now = document.getElementById(live.id);
    if (now) htmx.trigger(now, "moved");
  }, 1000);
}

if (document.querySelector("[data-live]")) {
  const events = new EventSource("/api/v1/events");
  const away = document.getElementById("away");
  for (const kind of ["jobs", "counts", "accounts", "runs", "reload"]) events.addEventListener(kind, () => moved(kind));
  events.addEventListener("database", (event) => {
    away.hidden = !JSON.parse(event.data).away;
    if (away.hidden) moved("reload");
  });
  addEventListener("pagehide", () => events.close());
}

// The focus stays where it was when a part is loaded again.
let focused = null;
document.addEventListener("htmx:beforeSwap", () => { focused = document.activeElement?.id || null; });
document.addEventListener("htmx:afterSwap", () => { if (focused) document.getElementById(focused)?.focus(); });

// A waiting sign-in looks again by itself.
const look = document.querySelector("[data-look-again]");
if (look) setTimeout(() => location.reload(), Number(look.dataset.lookAgain) * 1000);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (["INPUT", "SELECT", "TEXTAREA"].includes(document.activeElement?.tagName)) return;
  if (event.key === "/") {
    event.preventDefault();
    const field = document.querySelector("input[type=search]");
    if (field) field.focus(); else location.href = "/search";
    return;
  }
  if (event.key !== "j" && event.key !== "k") return;
  const items = [...document.querySelectorAll("[data-item]")];
  const here = items.findIndex((item) => item.contains(document.activeElement));
  const next = items[event.key === "j" ? Math.min(here + 1, items.length - 1) : Math.max(here - 1, 0)];
  const target = next?.querySelector("a, button, input:not([type=hidden])") ?? next;
  target?.focus();
  next?.scrollIntoView({ block: "nearest" });
});
