import { html } from "../lib.js";
import { t } from "../i18n.js";
import { Empty, PageHead } from "../components.js";

export default function Upcoming() {
  return html`<${PageHead} title=${t("Upcoming")} />
    <${Empty} title=${t("This view is being built")} />`;
}
