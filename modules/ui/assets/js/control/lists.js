// What the server offers for control units: control types with their preprocessors and models, and each preprocessor's
// numbers.

import { get } from "../core/api.js";

export class ControlLists {
  constructor() {
    /** @type {Record<string, any>} by name: {module_list, model_list, default_option, default_model} */
    this.types = {};
    /** @type {Record<string, any>} by preprocessor: {sliders, fields} */
    this.details = {};
    this.problem = "";
    this.listeners = [];
    this.load();
  }

  onChange(action) {
    this.listeners.push(action);
  }

  // update: the server looks for new files first.
  async load(update = false) {
    try {
      if (update) await get("/controlnet/model_list?update=true");
      const [types, modules] = await Promise.all([get("/controlnet/control_types"), get("/controlnet/module_list")]);
      this.types = types.control_types;
      this.details = modules.module_detail;
      this.problem = "";
    } catch (error) {
      this.problem = `The ControlNets could not be listed. ${error.message}`;
    }
    this.listeners.forEach((action) => action());
  }

  get models() {
    return (this.types.All?.model_list ?? []).filter((name) => name !== "None");
  }

  // The names to choose from for a unit: those of its control type, and its own even if it is not among them.
  modulesFor(unit) {
    return withOwn(this.of(unit).module_list, unit.module);
  }

  modelsFor(unit) {
    return withOwn(this.of(unit).model_list, unit.model);
  }

  of(unit) {
    return this.types[unit.type] ?? this.types.All ?? { module_list: [], model_list: [] };
  }

  // The numbers of a unit's preprocessor: [field, slider] each. With Pixel Perfect its resolution follows the result.
  slidersFor(unit) {
    const { sliders = [], fields = [] } = this.details[unit.module] ?? {};
    return sliders
      .map((slider, at) => [fields[at], slider])
      .filter(([field]) => !(field === "processor_res" && unit.pixel_perfect));
  }
}

const withOwn = (names, own) => (names.includes(own) ? names : [...names, own]);
