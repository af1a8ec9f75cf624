// What the page's scripts share: the light tables, the result that is kept as A, and the link that was opened.
{
  const STORED = "residae-settings"; // in localStorage
  const steps = (count) => `${count} ${count === 1 ? "step" : "steps"}`;
  // What a link cannot restore, by its parameter: what its sender and who opens it call it, and what the latter can do
  const NOT_IN_LINKS = [
    { name: "picture", is: (value) => value === "own", sent: "your picture", opened: () => "its sender’s own picture", advice: "Open yours, and the settings of the link apply." },
    { name: "cropped", is: Boolean, sent: "the crop", opened: () => "the part of the picture that its sender chose", advice: "Choose one with Crop." },
    { name: "refined", is: Number, sent: "the refinement", opened: (value) => `the refinement in ${steps(Number(value))}`, advice: "Start Refine with as many for the same file." },
    { name: "edited", is: Boolean, sent: "the edits of the latent", opened: () => "the edits of the latent", advice: "" },
    { name: "lost", is: Boolean, sent: "the result kept as A", opened: () => "the result that was kept as A", advice: "" },
  ];
  const own = ["tab", "show", "signed", "zoom", "x", "y", "divide", ...NOT_IN_LINKS.map(({ name }) => name)]; // in a link beside the settings
  const query = Object.fromEntries(new URLSearchParams(location.search));
  const keptAsA = Object.fromEntries(Object.entries(query).filter(([name]) => name.startsWith("a.")).map(([name, value]) => [name.slice(2), value]));
  const stored = () => {
    try { return JSON.parse(residae.recall(STORED)) ?? {}; } catch { return {}; }
  };
  window.residae = {
    tables: [], // of viewer.js
    kept: null, // the result A: { subject, size, pane, settings }, the last null where a link cannot hold them
    first: Object.keys(keptAsA).length ? keptAsA : null, // settings of A in the link, until it is there
    refused: "", // why that result cannot be made
    link: own.some((name) => name in query) ? query : null, // the one that was opened

    /** Keep a result as A in place of the one before; null to keep none. */
    keep(result) {
      for (const { url } of this.kept ? [this.kept.pane.picture, this.kept.pane.error.picture, this.kept.pane.error.signed] : []) URL.revokeObjectURL(url);
      this.kept = result;
      document.dispatchEvent(new Event("residae-kept"));
    },
    /** The light table with a result that is looked at, else one with a result. */
    get table() {
      const withResult = this.tables.filter((table) => table.panes().b);
      return withResult.find((table) => table.isVisible()) ?? withResult[0];
    },
    /** The light table of the Overview, which knows the picture's name and has the file. */
    get overview() { return this.tables.find((table) => table.file() !== undefined); },
    /** What the browser remembers by a name; null if there is nothing, or if storage is off. */
    recall(name) {
      try { return localStorage.getItem(name); } catch { return null; }
    },
    /** Let the browser remember a text by a name. Returns whether it does: storage may be off or full. */
    store(name, text) {
      try { localStorage.setItem(name, text); } catch { return false; }
      return true;
    },
    /** An element, once it is there; `tab` opens the tab that it is in, which is built when it is opened first. */
    async find(selector, tab) {
      if (tab) document.querySelector(`#tab-${tab}-button`).click();
      for (let tries = 0; tries < 500; tries++) {
        const found = document.querySelector(selector);
        if (found?.closest("[role=tabpanel]")?.checkVisibility() ?? found) return found;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    /** Called with the values of the settings at each change of one; those of a link are not the visitor's own. */
    remember(names, values) { if (!names.some((name) => name in query)) this.store(STORED, JSON.stringify(Object.fromEntries(names.map((name, i) => [name, values[i]])))); },
    /** What a visit starts with, as JSON: the settings of the last one, or those of a link. */
    start() { return JSON.stringify({ ...stored(), ...query, ...this.first, linked: Object.keys(query) }); },
    /** What a link with these parameters cannot restore: each with `sent`, `opened` and `advice`. */
    lacking(query) {
      return NOT_IN_LINKS.filter(({ name, is }) => is(query[name])).map(({ name, sent, opened, advice }) => ({ sent, opened: opened(query[name]), advice }));
    },
    /** A link to what is shown. */
    address() {
      const { table, overview } = this, tab = document.querySelector('[role=tab][aria-selected="true"]')?.id.match(/tab-(\w+)-button/)?.[1];
      const values = { picture: overview?.picture() ?? "own", ...overview?.settings(), ...overview?.changes(), ...table?.changes(), tab, ...table?.state() };
      for (const [name, value] of Object.entries(this.kept?.settings ?? {})) values[`a.${name}`] = value;
      if (this.kept && !this.kept.settings) values.lost = "a";
      return `${location.origin}${location.pathname}?${new URLSearchParams(Object.entries(values).filter(([, v]) => v != null))}`;
    },
  };
}
