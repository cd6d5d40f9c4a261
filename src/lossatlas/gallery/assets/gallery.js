/* Search and filters, keys and swipes of a gallery's pages. Without this script the pages show everything. */
"use strict";

const lossatlas = { given: {}, give(name, content) { this.given[name] = content; } };

(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const plain = (text) => text.toLowerCase().normalize("NFKD");
  const typing = (target) => target.closest && target.closest("input, select, textarea, video, .pane, .scroll, pre");
  const ORDER = "lossatlas.order"; // of what the filters leave, for the arrows of a figure's page

  function remember(cards) {
    try {
      const order = cards.map((card) => new URL(card.querySelector("a").href).pathname);
      sessionStorage.setItem(ORDER, JSON.stringify({ order, hash: location.hash }));
    } catch { /* a browser may keep nothing for files: the arrows then go through all */ }
  }

  function filters() {
    const form = document.querySelector(".filters");
    const cards = all(".card").map((card) => ({ card, text: plain(`${card.textContent} ${card.dataset.text} ${card.dataset.study} ${card.dataset.paper}`) }));
    const names = ["study", "method", "paper", "verdict"];

    function apply() {
      const words = plain(form.elements.q.value).split(/\s+/).filter(Boolean);
      const shown = cards.filter(({ card, text }) => {
        const fits = names.every((name) => !form.elements[name].value || card.dataset[name].split("|").includes(form.elements[name].value))
          && words.every((word) => text.includes(word));
        card.hidden = !fits;
        return fits;
      });
      for (const section of all("section.study")) section.hidden = !section.querySelector(".card:not([hidden])");
      document.querySelector(".nothing").hidden = shown.length > 0;
      form.elements.count.value = `${shown.length} shown`;
      remember(shown.map(({ card }) => card));
    }

    function keep() { // in the address, so that going back finds it again
      const said = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
      history.replaceState(null, "", said.size ? `#${said}` : location.pathname);
    }

    function restore() {
      const said = new URLSearchParams(location.hash.slice(1));
      for (const name of ["q", ...names]) if (said.has(name)) form.elements[name].value = said.get(name);
    }

    function clear() {
      form.reset();
      keep();
      apply();
    }

    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => { keep(); apply(); });
    form.addEventListener("reset", () => setTimeout(() => { keep(); apply(); }));
    document.querySelector(".nothing .all").addEventListener("click", clear);
    restore();
    apply();
    addEventListener("keydown", (event) => {
      if (event.key === "/" && !typing(event.target)) {
        event.preventDefault();
        form.elements.q.focus();
      } else if (event.key === "Escape" && event.target === form.elements.q) {
        clear();
      } else if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
        const links = all(".card:not([hidden]) > a");
        const at = links.indexOf(document.activeElement);
        const next = links[at + (event.key === "ArrowRight" ? 1 : -1)];
        if (at >= 0 && next) { event.preventDefault(); next.focus(); }
      }
    });
  }

  function single() { // a figure's, a table's or a study's page
    const link = (name) => document.querySelector(`.around a[rel=${name}]`);
    try { // the neighbours among what the filters left, where this page is one of them
      const { order, hash } = JSON.parse(sessionStorage.getItem(ORDER)) || { order: [], hash: "" };
      const at = order.indexOf(location.pathname);
      if (at >= 0) for (const home of all(".home")) home.href = home.href.split("#")[0] + hash;
      for (const [name, place] of [["prev", at - 1], ["next", at + 1]]) {
        if (at >= 0 && link(name) && place in order && new URL(link(name).href).pathname !== order[place]) {
          link(name).href = order[place];
          link(name).textContent = name === "prev" ? "← the one before" : "the next one →";
        } else if (at >= 0 && link(name) && !(place in order)) {
          link(name).remove();
        }
      }
    } catch { /* as above */ }
    const go = (name) => { const found = link(name); if (found) location.assign(found.href); };
    addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || typing(event.target)) return;
      if (event.key === "ArrowLeft") go("prev");
      else if (event.key === "ArrowRight") go("next");
      else if (event.key === "Escape") location.assign(document.querySelector(".home").href);
    });
    let from = null;
    const scrolls = (target) => { // what scrolls sideways itself is not swiped
      for (let node = target; node && node !== document.body; node = node.parentElement) {
        if (node.classList.contains("pane") || node.scrollWidth > node.clientWidth + 1) return true;
      }
      return false;
    };
    addEventListener("touchstart", (event) => {
      const touch = event.touches[0];
      from = event.touches.length === 1 && !scrolls(event.target) ? [touch.clientX, touch.clientY] : null;
    }, { passive: true });
    addEventListener("touchend", (event) => {
      if (!from) return;
      const [x, y] = [event.changedTouches[0].clientX - from[0], event.changedTouches[0].clientY - from[1]];
      from = null;
      if (Math.abs(x) > 60 && Math.abs(x) > 2 * Math.abs(y)) go(x < 0 ? "next" : "prev");
    }, { passive: true });
  }

  function films() { // a plain picture with a button, until somebody wants to see it move
    for (const film of all(".hero video")) {
      const button = Object.assign(document.createElement("button"), { type: "button", className: "start", textContent: "See it move" });
      const pane = Object.assign(document.createElement("div"), { className: "pane" });
      film.controls = false;
      button.addEventListener("click", () => { pane.remove(); film.controls = true; film.play(); film.focus(); });
      pane.append(button);
      film.after(pane);
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    films();
    if (document.querySelector(".filters")) filters(); else single();
    addEventListener("beforeprint", () => { for (const one of all("details")) one.open = true; });
  });
})();
