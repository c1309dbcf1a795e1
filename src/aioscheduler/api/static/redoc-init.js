"use strict";

Redoc.init(
  "/openapi.json",
  {
    hideDownloadButton: true,
    nativeScrollbars: true,
    sortRequiredPropsFirst: true,
    generatedSamplesMaxDepth: 4,
    scrollYOffset: "nav",
    // The default theme names fonts that would have to come from elsewhere.
    theme: {
      typography: {
        fontFamily: "system-ui, sans-serif",
        headings: { fontFamily: "system-ui, sans-serif" },
        code: { fontFamily: "ui-monospace, monospace" },
      },
    },
  },
  document.getElementById("page"),
);
