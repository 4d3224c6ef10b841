import * as v from "valibot";
import type { Login } from "../domain/login.ts";
import { newAccount, type Registration } from "../domain/registration.ts";
import type { Sessions, Tokens } from "../domain/sessions.ts";
import { text } from "../domain/text.ts";
import { readForm, readJson } from "../http/body.ts";
import { created, json } from "../http/replies.ts";
import type { Request } from "../http/request.ts";
import type { Throttle } from "../http/throttle.ts";
import { actorOf, bearerToken } from "./access.ts";
import { userResponse } from "./users.ts";

const typed = v.pipe(text, v.maxLength(1000));

/** RFC 6749 §4.3.2; its other parameters have no meaning here. */
const loginForm = v.object({ username: typed, password: typed });

/** RFC 6749 §5.1. */
const NO_STORE = { "Cache-Control": "no-store", Pragma: "no-cache" };

export function createAuthRoutes({
  registration,
  login,
  sessions,
  perAddress,
  perAccount,
}: {
  registration: Registration;
  login: Login;
  sessions: Sessions;
  perAddress: Throttle;
  perAccount: Throttle;
}) {
  return {
    async register(request: Request) {
      perAddress.take(`register ${request.address}`);
      const input = await readJson(request, newAccount);
      perAccount.take(`register ${input.email}`, request.address);
      const user = await registration.register(input, actorOf(request));
      return created(`/api/v1/users/${user.userId}`, userResponse(user));
    },

    async login(request: Request) {
      perAddress.take(`login ${request.address}`);
      const form = await readForm(request, loginForm);
      const address = form.username.trim().toLowerCase();
      // Guesses from elsewhere empty the account's bucket too: they must not keep its owner out.
      perAccount.take(`login ${address}`, request.address);
      const tokens = await login(address, form.password, actorOf(request));
      return tokenReply(tokens);
    },

    async refresh(request: Request) {
      perAddress.take(`refresh ${request.address}`);
      const presented = await sessions.verifyRefresh(bearerToken(request));
      perAccount.take(`refresh ${presented.session.sessionId}`);
      return tokenReply(await sessions.rotate(presented, actorOf(request)));
    },
  };
}

function tokenReply({ session_id: _, ...tokens }: Tokens) {
  return json({ ...tokens, token_type: "bearer" }, 200, NO_STORE);
}
