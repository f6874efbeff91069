/**
 * The views of `pnb.monitor()`. The kernel sends whole frames, `model.get("frame")`; a view keeps nothing but what it
 * draws. The fields of a frame are explained in pagednb/monitoring/frame.py. Texts of the kernel are placed as text.
 * widgets/module.py makes one module of these files.
 */

import { View } from "./view.js";

export default {
  render({ model, el }) {
    const view = new View(model, el);
    return () => view.close();
  },
};
