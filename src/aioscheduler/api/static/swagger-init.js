"use strict";

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  // The default asks a validator on another host.
  validatorUrl: null,
  // The token lives as long as the page, and is written nowhere.
  persistAuthorization: false,
  syntaxHighlight: { theme: "agate" },
});
