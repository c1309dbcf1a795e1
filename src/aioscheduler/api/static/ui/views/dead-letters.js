import { html } from "../lib.js";
import { t } from "../i18n.js";
import { Empty, PageHead } from "../components.js";

export default function DeadLetters() {
  return html`<${PageHead} title=${t("Dead letters")} />
    <${Empty} title=${t("This view is being built")} />`;
}
