//! Calls of the API without a program in between, for what is asked often.

use super::{Platform, eventually, http};
use apron_wire::apprunner::{
    ListOperationsRequest, ListServicesRequest, OperationStatus, Tag, TagResourceRequest,
};
use apron_wire::sigv4::{Credentials, SecretKey};
use apron_wire::{Call, client};
use std::fs;
use std::time::{Duration, SystemTime};

impl Platform {
    /// One call in the platform's region; what went wrong as text, be it a refusal or a connection that broke.
    pub fn call<C: Call>(&self, input: &C) -> Result<C::Output, String> {
        let text = fs::read_to_string(self.data.join("credentials")).map_err(|error| error.to_string())?;
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_prefix('='));
            line.map(|value| value.trim().to_owned()).ok_or_else(|| format!("no {name} in the credentials"))
        };
        let credentials = Credentials {
            access_key_id: value("aws_access_key_id")?,
            secret: SecretKey::new(value("aws_secret_access_key")?),
            token: None,
        };
        let now = SystemTime::UNIX_EPOCH.elapsed().map_err(|error| error.to_string())?.as_secs();
        let request = client::request(input, &self.api, "us-east-1", &credentials, now)
            .map_err(|error| error.to_string())?;
        let mut head = "POST / HTTP/1.1\r\nConnection: close\r\n".to_owned();
        for (name, value) in request.headers() {
            head.push_str(&format!("{name}: {}\r\n", value.to_str().expect("headers of ours are text")));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", request.body().len()));
        head.push_str(std::str::from_utf8(request.body()).expect("JSON"));
        let answer = http::request(&self.api, &head).map_err(|error| error.to_string())?;
        let status = answer.status.try_into().map_err(|_| "no HTTP status".to_owned())?;
        client::answer::<C>(status, answer.body.as_bytes()).map_err(|error| error.to_string())
    }

    /// The ARN of the service of this name.
    pub fn arn(&self, name: &str) -> String {
        let listed = self.call(&ListServicesRequest::default()).expect("a list of services");
        let mut services = listed.service_summary_list.into_iter();
        let found = services.find(|service| service.service_name.as_deref() == Some(name));
        found.and_then(|service| service.service_arn).unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// Sets a tag of a service.
    pub fn tag(&self, arn: &str, key: &str, value: &str) {
        let tag = Tag { key: Some(key.to_owned()), value: Some(value.to_owned()) };
        let request = TagResourceRequest { resource_arn: arn.to_owned(), tags: vec![tag] };
        self.call(&request).unwrap_or_else(|error| panic!("{key}={value}: {error}"));
    }

    /// How the newest operation of a service ended, once it has. A call that control breaks off is made again.
    pub fn ended(&self, arn: &str, within: Duration) -> OperationStatus {
        use OperationStatus::{InProgress, Pending, RollbackInProgress};
        eventually(within, "the end of an operation", || {
            let page = self.call(&ListOperationsRequest::new(arn))?;
            let newest = page.operation_summary_list.and_then(|list| list.into_iter().next());
            match newest.and_then(|newest| newest.status) {
                None | Some(Pending | InProgress | RollbackInProgress) => Err("it is open".to_owned()),
                Some(status) => Ok(status),
            }
        })
    }
}
