import * as v from "valibot";
import type { Caller } from "../domain/authority.ts";
import type { Login } from "../domain/login.ts";
import { type PasswordChanges, passwordChange, passwordReset } from "../domain/password-changes.ts";
import { newAccount, type Registration } from "../domain/registration.ts";
import type { Logout, Sessions, Tokens } from "../domain/sessions.ts";
import { text } from "../domain/text.ts";
import { readForm, readJson } from "../http/body.ts";
import { created, json, noContent } from "../http/replies.ts";
import type { Request } from "../http/request.ts";
import { createKnownNetworks, networkOf, type Throttle } from "../http/throttle.ts";
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
  logout,
  sessions,
  passwordChanges,
  perAddress,
  perAccount,
}: {
  registration: Registration;
  login: Login;
  logout: Logout;
  sessions: Sessions;
  passwordChanges: PasswordChanges;
  perAddress: Throttle;
  perAccount: Throttle;
}) {
  const known = createKnownNetworks();
  /** Guesses from elsewhere don't lock an account out where it signed in before. */
  const takeGuess = (account: string, network: string) =>
    perAccount.take(
      known.has(account, network) ? `login@${network} ${account}` : `login ${account}`,
    );

  return {
    async register(request: Request) {
      perAddress.take(`register ${networkOf(request.address)}`);
      const input = await readJson(request, newAccount);
      perAccount.take(`register ${input.email}`);
      const user = await registration.register(input, actorOf(request), request.signal);
      return created(`/api/v1/users/${user.userId}`, userResponse(user));
    },

    async login(request: Request) {
      const network = networkOf(request.address);
      perAddress.take(`login ${network}`);
      const form = await readForm(request, loginForm);
      const account = accountOf(form.username);
      takeGuess(account, network);
      const tokens = await login(account, form.password, actorOf(request), request.signal);
      known.add(account, network);
      return tokenReply(tokens);
    },

    async refresh(request: Request) {
      const network = networkOf(request.address);
      perAddress.take(`refresh ${network}`);
      const presented = await sessions.verifyRefresh(bearerToken(request));
      perAccount.take(`refresh ${presented.session.sessionId}`);
      const tokens = await sessions.rotate(presented, actorOf(request));
      known.add(accountOf(presented.user.email), network);
      return tokenReply(tokens);
    },

    async logout(_request: Request, caller: Caller) {
      await logout(caller);
      return noContent();
    },

    async changePassword(request: Request, caller: Caller) {
      const input = await readJson(request, passwordChange);
      takeGuess(accountOf(caller.user.email), networkOf(request.address));
      await passwordChanges.change(caller, input, request.signal);
      return noContent();
    },

    async useReset(request: Request) {
      perAddress.take(`password-reset ${networkOf(request.address)}`);
      const input = await readJson(request, passwordReset);
      await passwordChanges.useReset(input, actorOf(request), request.signal);
      return noContent();
    },
  };
}

/** As the database compares: another spelling of an address is no other account. */
const accountOf = (address: string) => address.normalize("NFKC").trim().toLowerCase();

function tokenReply({ session_id: _, ...tokens }: Tokens) {
  return json({ ...tokens, token_type: "bearer" }, 200, NO_STORE);
}
