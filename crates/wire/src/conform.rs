//! Whether what an operation is about to answer is what its model lets it answer: types, required members, enums,
//! patterns and bounds of an output, and the list of errors. Clients are generated from the same model, so whoever
//! breaks it breaks them.

use crate::shape::{Problem, check};
use crate::{Call, Error};

/// What breaks the model, or nothing. The text names the member and the rule and never the value, which may be a
/// secret.
pub fn breach<C: Call>(answer: &Result<C::Output, Error>) -> Option<String> {
    let output = match answer {
        Ok(output) => output,
        Err(error) if C::models(&error.code) => return None,
        Err(error) => return Some(format!("{} does not model the error {}.", C::TARGET, error.code)),
    };
    let Ok(value) = serde_json::to_value(output) else {
        return Some(format!("The output of {} cannot be written as JSON.", C::TARGET));
    };
    match check(C::output_shape(), &value).err()? {
        Problem::Type { path, expected } => {
            Some(format!("The output of {} has a '{path}' that is not {expected}.", C::TARGET))
        }
        Problem::Rules(violations) => {
            let broken: Vec<String> =
                violations.iter().map(|broken| format!("'{}': {}", broken.path, broken.rule)).collect();
            Some(format!("The output of {} breaks its model: {}.", C::TARGET, broken.join("; ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apprunner::{
        ErrorType, ListConnectionsRequest, ListOperationsRequest, ListOperationsResponse, OperationSummary,
        StartDeploymentRequest, StartDeploymentResponse,
    };

    #[test]
    fn an_answer_within_the_model_passes() {
        let answer = Ok(StartDeploymentResponse { operation_id: "0123456789abcdef0123456789abcdef".into() });
        assert_eq!(breach::<StartDeploymentRequest>(&answer), None);
        let refusal = Err(ErrorType::ResourceNotFound.with("no"));
        assert_eq!(breach::<StartDeploymentRequest>(&refusal), None);
        // What every service may answer stands in no model.
        assert_eq!(breach::<StartDeploymentRequest>(&Err(Error::service_unavailable("busy"))), None);
    }

    #[test]
    fn a_breach_names_member_and_rule_and_not_the_value() {
        let summary = OperationSummary { id: Some("secret".into()), ..Default::default() };
        let answer =
            Ok(ListOperationsResponse { operation_summary_list: Some(vec![summary]), next_token: None });
        assert_eq!(
            breach::<ListOperationsRequest>(&answer).unwrap(),
            "The output of AppRunner.ListOperations breaks its model: 'operationSummaryList.1.member.id': Member \
             must have length greater than or equal to 32."
        );
    }

    #[test]
    fn an_error_that_the_operation_does_not_model_is_a_breach() {
        for (error, models) in [(ErrorType::InvalidRequest, true), (ErrorType::ResourceNotFound, false)] {
            let refusal = Err(error.with("no"));
            assert_eq!(breach::<ListConnectionsRequest>(&refusal).is_none(), models, "{}", error.name());
        }
        let refusal = Err(ErrorType::InvalidState.with("no"));
        assert_eq!(
            breach::<StartDeploymentRequest>(&refusal).unwrap(),
            "AppRunner.StartDeployment does not model the error InvalidStateException."
        );
    }
}
