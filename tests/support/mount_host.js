// The place where tests mount a widget's ES module: a model as anywidget hands it to `render`, without Jupyter.
// Tests reach it as `window.mount`; what the module did is kept in `mount.sent` and `mount.saved`.

/** Traits, their listeners, and the messages of both directions. */
class FakeModel {
  #state;
  #unsaved = {};
  #listeners = new Map();
  #isKernelGone = false;

  /** @param {Object<string, any>} state */
  constructor(state) {
    this.#state = { ...state };
    this.sent = [];
    this.saved = [];
    this.widget_manager = {};
  }

  get(name) {
    return this.#state[name];
  }

  set(name, value) {
    this.#unsaved[name] = value;
    this.#change({ [name]: value });
  }

  save_changes() {
    this.saved.push(structuredClone(this.#unsaved));
    this.#unsaved = {};
  }

  /** Backbone's: several events may stand in one string. */
  on(events, callback) {
    for (const event of events.split(/\s+/)) {
      this.#listeners.set(event, [...(this.#listeners.get(event) ?? []), callback]);
    }
  }

  /** Without an event all listeners leave, without a callback all of that event. */
  off(events, callback) {
    for (const event of events ? events.split(/\s+/) : [...this.#listeners.keys()]) {
      const left = (this.#listeners.get(event) ?? []).filter((other) => callback && other !== callback);
      this.#listeners.set(event, left);
    }
  }

  send(content, callbacks, buffers) {
    if (this.#isKernelGone) throw new Error("Cannot send");
    this.sent.push(structuredClone(content));
  }

  /** The kernel is restarted: what ipywidgets does about models of the one before. */
  loseKernel(isAnnounced) {
    this.#isKernelGone = true;
    if (isAnnounced) this.#trigger("comm_live_update");
  }

  /** A custom message of the kernel. */
  push(content, buffers = []) {
    this.#trigger("msg:custom", content, buffers);
  }

  /** Traits that the kernel changed. */
  update(changes) {
    this.#change(changes);
  }

  numListeners() {
    return [...this.#listeners.values()].reduce((sum, callbacks) => sum + callbacks.length, 0);
  }

  #change(changes) {
    const changed = Object.entries(changes).filter(([name, value]) => this.#state[name] !== value);
    Object.assign(this.#state, changes);
    for (const [name, value] of changed) this.#trigger(`change:${name}`, this, value, {});
    if (changed.length) this.#trigger("change", this, {});
  }

  #trigger(event, ...args) {
    for (const callback of this.#listeners.get(event) ?? []) callback(...args);
  }
}

/** One model, and every view of it that is on the page. */
class Mount {
  #widget;
  #views = [];
  #life = new AbortController();

  constructor(widget, state) {
    this.#widget = widget;
    this.model = new FakeModel(state);
  }

  async start() {
    await this.#widget.initialize?.({ model: this.model, signal: this.#life.signal, experimental: {} });
    await this.addView();
  }

  async addView() {
    const el = document.createElement("div");
    el.className = "mount-view";
    document.body.append(el);
    const life = new AbortController();
    const cleanup = await this.#widget.render({ model: this.model, el, signal: life.signal, experimental: {} });
    this.#views.push({ el, life, cleanup });
  }

  async removeViews() {
    for (const { el, life, cleanup } of this.#views.splice(0)) {
      life.abort();
      await cleanup?.();
      el.remove();
    }
  }
}

/** Import the module at `url` and draw its first view. */
export async function mount(url, state) {
  const { default: widget } = await import(url);
  window.mount = new Mount(typeof widget === "function" ? await widget() : widget, state);
  await window.mount.start();
}
