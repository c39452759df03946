// Begins Swagger UI. A browser that is signed in sends its session's CSRF token with each change.
let csrf = null;

fetch("/api/v1/session", { credentials: "same-origin" })
  .then((answer) => (answer.ok ? answer.json() : null))
  .then((me) => { csrf = me && me.csrf; })
  .catch(() => {})
  .finally(() => {
    SwaggerUIBundle({
      url: "/api/v1/openapi.json",
      dom_id: "#swagger-ui",
      deepLinking: true,
      validatorUrl: null,
      requestInterceptor: (request) => {
        if (csrf) request.headers["X-CSRF-Token"] = csrf;
        return request;
      },
    });
  });
