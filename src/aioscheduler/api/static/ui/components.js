// All components, so that a view needs one import.
export * from "./components/attempts.js";
export * from "./components/buttons.js";
export * from "./components/dialog.js";
export * from "./components/fields.js";
export * from "./components/json.js";
export * from "./components/plot.js";
export * from "./components/status.js";
export * from "./components/table.js";
export * from "./components/tabs.js";
export * from "./components/time.js";
export * from "./components/toast.js";
