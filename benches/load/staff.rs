//! The staff door: pages of the console, and what a wrong password costs whoever it is for.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use nightdrop::testing::domain::agent::{Actor, Role};
use nightdrop::testing::workflow::sign_in::{self, Browser, Proof, Visitor};
use serde_json::{Value, json};

use crate::Plan;
use crate::child::{Child, Folder};
use crate::client::quantile;
use crate::report::Report;
use crate::serve::TestApp;

/// Accounts that are guessed at: so many that none is shut for too many wrong tries.
const ACCOUNTS: usize = 10;

/// Whether the time of an answer tells that there is such an account.
pub fn guessing(plan: &Plan, report: &mut Report) -> Result<(), String> {
    const GROUP: &str = "a wrong password";
    let folder = Folder::new();
    let mut child = Child::start("portal", &json!({ "folder": folder.path() }));
    let told = child.ask("guess", json!({ "count": if plan.quick { 50 } else { 200 } }));
    let of = |who: &str| told[who].as_f64().unwrap() / 1e3;
    report.figure(GROUP, "for an account that exists, median", of("known"), "ms");
    report.figure(GROUP, "for one that does not, median", of("unknown"), "ms");
    report.at_most(GROUP, "difference", (of("known") - of("unknown")).abs(), "ms", 5.0);
    Ok(())
}

const FORM: &str = "application/x-www-form-urlencoded";

/// An admin who is signed in.
pub struct Console {
    http: reqwest::Client,
    cookie: String,
}

impl Console {
    async fn open(app: &TestApp) -> Self {
        let (email, password) = ("load@example.com", "gravel oboe lighthouse tangerine");
        sign_in::add_agent(&app.portal, email, "Load", Role::Admin, password, Actor::Operator)
            .await
            .unwrap();
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let form = format!("email={}&password={}", email.replace('@', "%40"), password.replace(' ', "+"));
        let answer = http
            .post(app.staff("/sign-in"))
            .header("sec-fetch-site", "same-origin")
            .header("content-type", FORM)
            .body(form)
            .send()
            .await
            .unwrap();
        let cookies: Vec<&str> = answer
            .headers()
            .get_all("set-cookie")
            .iter()
            .map(|c| c.to_str().unwrap().split(';').next().unwrap())
            .filter(|c| !c.ends_with('='))
            .collect();
        let cookie = cookies.join("; ");
        Self { http, cookie }
    }
}

impl TestApp {
    fn staff(&self, path: &str) -> String {
        format!("http://{}{path}", self.running.as_ref().unwrap().staff)
    }

    /// Microseconds of a page of the console over a connection that stays open: the median of `count`. With an applicant, it is their search.
    pub async fn time_page(&mut self, path: &str, applicant: Option<&str>, count: usize) -> Value {
        if self.console.is_none() {
            self.console = Some(Console::open(self).await);
        }
        let Console { http, cookie } = self.console.as_ref().unwrap();
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let call = match applicant {
                Some(applicant) => http
                    .post(self.staff(path))
                    .header("content-type", FORM)
                    .body(format!("applicant={applicant}")),
                None => http.get(self.staff(path)),
            };
            let call = call
                .header("cookie", cookie)
                .header("accept", "text/html")
                .header("sec-fetch-site", "same-origin");
            let start = Instant::now();
            let mut answer = call.send().await.unwrap();
            // A search is a form, and every form ends on a page.
            if answer.status() == 303 {
                let to = answer.headers()["location"].to_str().unwrap().to_owned();
                let found = http.get(self.staff(&to)).header("cookie", cookie).header("accept", "text/html");
                answer = found.send().await.unwrap();
            }
            let (status, text) = (answer.status(), answer.text().await.unwrap());
            times.push(start.elapsed());
            assert_eq!(status, 200, "{path}");
            assert!(
                applicant.is_none_or(|a| text.contains(a)),
                "{path} does not find who was searched for"
            );
        }
        json!({ "microseconds": quantile(&times, 0.5).as_secs_f64() * 1e6 })
    }

    /// Microseconds of wrong passwords, for accounts that exist and for others in turn, each from an address of its own: medians of `count`.
    pub async fn guess(&self, count: usize) -> Value {
        let address = |n: usize| format!("guessed-{n}@example.com");
        for n in 0..ACCOUNTS {
            let password = "gravel oboe lighthouse tangerine";
            sign_in::add_agent(&self.portal, &address(n), "Guessed", Role::Agent, password, Actor::Operator)
                .await
                .unwrap();
        }
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for n in 0..count {
            for (times, account) in [(&mut known, n % ACCOUNTS), (&mut unknown, ACCOUNTS + n % ACCOUNTS)] {
                let visitor = Visitor {
                    address: IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n as u32)),
                    browser: Browser::Stranger,
                };
                let start = Instant::now();
                let proof = sign_in::prove_password(&self.portal, &address(account), "gravel oboe lighthouse", visitor).await;
                times.push(start.elapsed());
                assert!(matches!(proof.unwrap(), Proof::Wrong));
            }
        }
        let [known, unknown] = [known, unknown].map(|times| quantile(&times, 0.5).as_secs_f64() * 1e6);
        json!({ "known": known, "unknown": unknown })
    }
}
