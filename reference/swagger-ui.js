// The page goes on with the access token of Authorize. From its end on, newer ones are sent
// instead; the refresh token of a login is good until its session ends.
let login;
let current;

const remember = (token) => {
  current = { header: `Bearer ${token.access_token}`, end: Date.now() + token.expires_in * 1000 };
};

async function refresh() {
  const headers = { Authorization: `Bearer ${login.refresh_token}` };
  const answer = await fetch("/api/v1/auth/refresh", { method: "POST", headers });
  if (answer.ok) remember(await answer.json());
}

SwaggerUIBundle({
  dom_id: "#swagger-ui",
  url: "/openapi.json",
  deepLinking: true,
  showExtensions: true,
  validatorUrl: null,
  async requestInterceptor(request) {
    if (!login || request.headers?.Authorization !== `Bearer ${login.access_token}`) return request;
    if (Date.now() > current.end - 5_000) await refresh();
    request.headers.Authorization = current.header;
    return request;
  },
  responseInterceptor(response) {
    if (!response.ok || !response.url.endsWith("/api/v1/auth/login")) return response;
    login = JSON.parse(response.text);
    remember(login);
    return response;
  },
});
